//! Reads a log back, for a client that wants what was logged before it came.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

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
    position: u64,
    line: String,
}

impl Replay {
    pub(super) fn open(path: &Path, position: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(position))?;
        Ok(Self {
            reader: BufReader::new(file),
            position,
            line: String::new(),
        })
    }

    /// Returns the next entry before `end`, which is a length of whole entries.
    pub(super) fn next(&mut self, end: u64) -> Option<(Output, String)> {
        while self.position < end {
            self.line.clear();
            let count = self.reader.read_line(&mut self.line).unwrap_or(0);
            if count == 0 {
                self.position = end;
                return None;
            }
            self.position += count as u64;
            // A torn line, from a power cut, is passed over.
            if let Ok(entry) = serde_json::from_str::<Entry>(&self.line) {
                let output = match entry.stream.as_str() {
                    "stderr" => Output::Stderr,
                    _ => Output::Stdout,
                };
                return Some((output, entry.log));
            }
        }
        None
    }
}
