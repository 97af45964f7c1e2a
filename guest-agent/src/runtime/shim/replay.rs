//! Reads a log back, for a client that wants what was logged before it came.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};

use serde::Deserialize;

use super::log::Log;
use super::stdio::Output;

#[derive(Deserialize)]
struct Entry {
    log: String,
    stream: String,
}

/// A place in a log.
#[derive(Debug)]
pub(super) struct Replay {
    reader: BufReader<File>,
    /// Of the file that it reads.
    number: u64,
    position: u64,
    line: String,
}

impl Replay {
    /// Opens a log at its beginning.
    pub(super) fn from_start(log: &Log) -> Option<Self> {
        Self::open(log, log.oldest(), 0)
    }

    /// Opens a log at its present end.
    pub(super) fn from_now(log: &Log) -> Option<Self> {
        Self::open(log, log.number(), log.length())
    }

    /// Opens the first file that is there, of that number or a later one.
    fn open(log: &Log, number: u64, position: u64) -> Option<Self> {
        let numbers = number.max(log.oldest())..=log.number();
        let mut found =
            numbers.filter_map(|number| Some((number, File::open(log.path(number)).ok()?)));
        let (number, mut file) = found.next()?;
        file.seek(SeekFrom::Start(position)).ok()?;
        Some(Self {
            reader: BufReader::new(file),
            number,
            position,
            line: String::new(),
        })
    }

    /// Returns the next entry; nothing once the present is reached.
    pub(super) fn next(&mut self, log: &Log) -> Option<(Output, String)> {
        loop {
            let written = self.number == log.number();
            if !written || self.position < log.length() {
                self.line.clear();
                let count = self.reader.read_line(&mut self.line).unwrap_or(0);
                self.position += count as u64;
                if count > 0 {
                    // A torn line, from a power cut, is passed over.
                    let Ok(entry) = serde_json::from_str::<Entry>(&self.line) else {
                        continue;
                    };
                    let output = match entry.stream.as_str() {
                        "stderr" => Output::Stderr,
                        _ => Output::Stdout,
                    };
                    return Some((output, entry.log));
                }
            }
            if written {
                self.position = log.length();
                return None;
            }
            // A client this slow loses what is in files that are gone.
            *self = Self::open(log, self.number + 1, 0)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::log_files::LogLimits;

    #[test]
    fn a_replay_goes_on_through_the_files_of_a_log() {
        let place = tempfile::tempdir().unwrap();
        let mut log = Log::open(
            &place.path().join("log"),
            LogLimits {
                files: 5,
                size: 1000,
            },
        )
        .unwrap();
        let write = |log: &mut Log, numbers: std::ops::Range<u32>| {
            for number in numbers {
                log.append(Output::Stderr, format!("{number}\n").as_bytes());
            }
        };
        let read = |replay: &mut Replay, log: &Log| {
            let mut numbers = Vec::new();
            while let Some((output, text)) = replay.next(log) {
                assert_eq!(output, Output::Stderr);
                numbers.push(text.trim().parse::<u32>().unwrap());
            }
            numbers
        };
        let first = log.number();
        write(&mut log, 0..5);
        let mut early = Replay::from_start(&log).unwrap();
        let mut late = Replay::from_now(&log).unwrap();
        assert!(read(&mut early, &log).into_iter().eq(0..5));
        write(&mut log, 5..40);
        assert!(log.number() > first);
        assert!(read(&mut early, &log).into_iter().eq(5..40));
        assert!(read(&mut late, &log).into_iter().eq(5..40));
        let mut all = Replay::from_start(&log).unwrap();
        assert!(read(&mut all, &log).into_iter().eq(0..40));
        assert!(read(&mut all, &log).is_empty());
        // Left behind by more files than there are, it has the rest of its own
        // and goes on with the oldest.
        write(&mut log, 40..400);
        let rest = read(&mut late, &log);
        assert_eq!(rest.first(), Some(&40));
        assert_eq!(rest.last(), Some(&399));
        assert!(rest.is_sorted() && rest.len() < 360);
    }
}
