//! The container's log: Docker's `json-file`, one object a line.
//!
//! A line of output is one entry; one longer than 16 KiB becomes several, of
//! which only the last ends in a newline (as Docker's copier does it).
//!
//! A file that is full is put aside and a new one begun; of those put aside
//! the oldest goes. Entries are never divided between files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::stdio::Output;
use super::time::{now_ns, rfc3339};
use crate::runtime::log_files::{LogLimits, log_file};

/// The longest entry's text, bytes.
const LONGEST: usize = 16 * 1024;

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// Counts the files from the oldest that there may be when it is opened.
    number: u64,
    /// Bytes of whole entries in the file.
    length: u64,
    limits: LogLimits,
    /// What came after the last newline, of output and of error.
    partial: [Vec<u8>; 2],
    failed: bool,
}

impl Log {
    /// Opens a log, of which so much is kept.
    pub(super) fn open(path: &Path, limits: LogLimits) -> io::Result<Self> {
        let file = append_to(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            number: limits.files - 1,
            length,
            limits,
            partial: [Vec::new(), Vec::new()],
            failed: false,
        })
    }

    /// Returns the number of the file that is written.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the number of the oldest file that there may be.
    pub(super) fn oldest(&self) -> u64 {
        self.number - (self.limits.files - 1)
    }

    /// Returns where the file of that number is now.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        log_file(&self.path, self.number - number)
    }

    /// Returns how long the file that is written is, in bytes of whole entries.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Returns what is not in the file yet, for want of a newline.
    pub(super) fn partial(&self, output: Output) -> &[u8] {
        &self.partial[output as usize]
    }

    /// Adds what a process wrote. A log that cannot be written loses entries
    /// and never stops the container.
    pub(super) fn append(&mut self, output: Output, bytes: &[u8]) {
        let mut entries = Vec::new();
        let mut time = None;
        let mut partial = std::mem::take(&mut self.partial[output as usize]);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LONGEST - partial.len();
            let newline = rest.iter().take(room).position(|&byte| byte == b'\n');
            let taken = newline.map_or(room.min(rest.len()), |at| at + 1);
            partial.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            if newline.is_some() || partial.len() == LONGEST {
                let time = time.get_or_insert_with(|| rfc3339(now_ns()));
                let carried = encode(&mut entries, output, &mut partial, time);
                partial.drain(..partial.len() - carried);
            }
        }
        self.partial[output as usize] = partial;
        self.write(&entries);
    }

    /// Puts the file aside and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        // Made first, so that a full disk changes nothing.
        let new = self.path.with_extension("new");
        let file = append_to(&new)?;
        file.set_len(0)?;
        for age in (0..self.limits.files - 1).rev() {
            match fs::rename(log_file(&self.path, age), log_file(&self.path, age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(new, &self.path)?;
        self.file = file;
        self.number += 1;
        self.length = 0;
        Ok(())
    }

    /// Writes what no newline ended, when no more comes.
    pub(super) fn flush(&mut self) {
        let mut entries = Vec::new();
        for output in [Output::Stdout, Output::Stderr] {
            let partial = std::mem::take(&mut self.partial[output as usize]);
            if !partial.is_empty() {
                write_entry(&mut entries, output, &partial, &rfc3339(now_ns()));
            }
        }
        self.write(&entries);
    }

    /// Writes entries to as many files as they need.
    fn write(&mut self, mut entries: &[u8]) {
        while !entries.is_empty() {
            let room = self.limits.size.saturating_sub(self.length);
            let fitting = whole_entries(entries, room);
            let mut now = fitting;
            if fitting == 0 && self.length > 0 {
                // Rather too long than not written.
                if let Err(error) = self.rotate() {
                    eprintln!("a container's log cannot be put aside: {error}");
                    now = entries.len();
                }
            } else if fitting == 0 {
                now = first_entry(entries);
            }
            self.write_to_file(&entries[..now]);
            entries = &entries[now..];
        }
    }

    fn write_to_file(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        match self.file.write_all(entries) {
            Ok(()) => {
                self.length += entries.len() as u64;
                self.failed = false;
            }
            Err(error) => {
                // Half an entry would make the next one unreadable.
                let _ = self.file.set_len(self.length);
                if !self.failed {
                    eprintln!("a container's log loses entries: {error}");
                }
                self.failed = true;
            }
        }
    }
}

/// Returns the length of the entries at the beginning that fit into so many bytes.
fn whole_entries(entries: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).map_or(entries.len(), |room| room.min(entries.len()));
    let newline = entries[..room].iter().rposition(|&byte| byte == b'\n');
    newline.map_or(0, |at| at + 1)
}

/// Returns the length of the first entry.
fn first_entry(entries: &[u8]) -> usize {
    let newline = entries.iter().position(|&byte| byte == b'\n');
    newline.map_or(entries.len(), |at| at + 1)
}

fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).open(path)
}

/// Writes one entry; returns how many bytes at the end belong to the next, not
/// to split a character that the length cut.
fn encode(entries: &mut Vec<u8>, output: Output, text: &mut [u8], time: &str) -> usize {
    let carried = if text.last() == Some(&b'\n') {
        0
    } else {
        match std::str::from_utf8(text) {
            Err(error) if error.error_len().is_none() => text.len() - error.valid_up_to(),
            _ => 0,
        }
    };
    write_entry(entries, output, &text[..text.len() - carried], time);
    carried
}

fn write_entry(entries: &mut Vec<u8>, output: Output, text: &[u8], time: &str) {
    entries.extend_from_slice(b"{\"log\":\"");
    for chunk in text.utf8_chunks() {
        escape(entries, chunk.valid());
        if !chunk.invalid().is_empty() {
            entries.extend_from_slice(b"\\ufffd");
        }
    }
    entries.extend_from_slice(b"\",\"stream\":\"");
    entries.extend_from_slice(output.name().as_bytes());
    entries.extend_from_slice(b"\",\"time\":\"");
    entries.extend_from_slice(time.as_bytes());
    entries.extend_from_slice(b"\"}\n");
}

/// JSON as Go's encoder writes it, which is what reads Docker's logs.
fn escape(entries: &mut Vec<u8>, text: &str) {
    let mut plain = 0;
    for (at, character) in text.char_indices() {
        let escaped = match character {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                format!("\\u{:04x}", u32::from(character))
            }
            _ => continue,
        };
        entries.extend_from_slice(&text.as_bytes()[plain..at]);
        entries.extend_from_slice(escaped.as_bytes());
        plain = at + character.len_utf8();
    }
    entries.extend_from_slice(&text.as_bytes()[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn logged(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let mut log = Log::open(&path, LogLimits::default()).unwrap();
        for piece in pieces {
            log.append(Output::Stdout, piece);
        }
        log.flush();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(log.length(), text.len() as u64);
        text.lines()
            .map(|line| {
                let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                let field = |name: &str| entry[name].as_str().unwrap().to_owned();
                (field("log"), field("stream"))
            })
            .collect()
    }

    #[test]
    fn a_line_is_an_entry_however_it_arrives() {
        let entries = logged(&[b"on", b"e\ntw", b"o\nthree"]);
        let texts: Vec<_> = entries.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["one\n", "two\n", "three"]);
    }

    #[test]
    fn a_long_line_is_split_at_sixteen_kibibytes() {
        let mut line = vec![b'x'; LONGEST + 10];
        line.push(b'\n');
        let entries = logged(&[&line]);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].0.len(), LONGEST);
        assert_eq!(entries[1].0, format!("{}\n", "x".repeat(10)));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_one_by_one() {
        let entries = logged(&[b"a\xff\xfe<b>\x01\n"]);
        assert_eq!(entries[0].0, "a\u{fffd}\u{fffd}<b>\u{1}\n");
    }

    #[test]
    fn only_the_latest_files_stay_each_of_whole_entries() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let limits = LogLimits {
            files: 3,
            size: 1000,
        };
        let mut log = Log::open(&path, limits).unwrap();
        for number in 0..200 {
            log.append(Output::Stdout, format!("{number}\n").as_bytes());
        }
        assert_eq!(
            fs::read_dir(place.path()).unwrap().count() as u64,
            limits.files
        );
        let mut numbers = Vec::new();
        for age in (0..limits.files).rev() {
            let text = fs::read_to_string(log_file(&path, age)).unwrap();
            assert!(text.len() as u64 <= limits.size);
            for line in text.lines() {
                let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                let text = entry["log"].as_str().unwrap().trim();
                numbers.push(text.parse::<u32>().unwrap());
            }
        }
        let first = numbers[0];
        assert!(first > 100);
        assert!(numbers.into_iter().eq(first..200));
        // Opened again it goes on where it was.
        drop(log);
        let mut log = Log::open(&path, limits).unwrap();
        let before = log.length();
        log.append(Output::Stdout, b"more\n");
        assert!(log.length() > before || log.number() == limits.files);
    }

    proptest! {
        #[test]
        fn text_comes_back_from_the_log(text in "\\PC{0,300}(\n\\PC{0,300}){0,4}", cut in 1usize..60) {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let joined: String = logged(&pieces).into_iter().map(|(text, _)| text).collect();
            prop_assert_eq!(joined, text);
        }
    }
}
