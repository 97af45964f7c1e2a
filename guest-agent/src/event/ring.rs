//! The latest events, in memory and in a file that ends with the machine, so
//! that they outlive the agent.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use wherry_proto::v1::Event;

/// Events kept at most.
const EVENTS: usize = 1024;

/// Bytes that the kept events take at most; labels make an event as long as
/// their user likes.
const BYTES: usize = 1024 * 1024;

/// The latest events, in order.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    path: PathBuf,
    /// What [`Ring::push`] appends to; `None` where it cannot be written.
    file: Option<File>,
    written: usize,
}

impl Ring {
    /// Reads what an earlier agent kept in a directory.
    pub(super) fn open(directory: &Path) -> Self {
        let path = directory.join("events");
        let mut ring = Self {
            events: VecDeque::new(),
            bytes: 0,
            path,
            file: None,
            written: 0,
        };
        let kept = fs::read(&ring.path).unwrap_or_default();
        let mut rest = &kept[..];
        // An agent that was killed may have left the last one half written.
        while let Ok(event) = Event::decode_length_delimited(&mut rest) {
            ring.keep(event);
            if rest.is_empty() {
                break;
            }
        }
        ring.rewrite();
        ring
    }

    /// Adds an event in place of the oldest.
    pub(super) fn push(&mut self, event: Event) {
        let bytes = event.encode_length_delimited_to_vec();
        self.keep(event);
        if self.written + bytes.len() > 2 * BYTES {
            self.rewrite();
            return;
        }
        if let Some(file) = &mut self.file {
            match file.write_all(&bytes) {
                Ok(()) => self.written += bytes.len(),
                // Half an event may be there now.
                Err(_) => self.rewrite(),
            }
        }
    }

    /// Returns the events, the oldest first.
    pub(super) fn events(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }

    fn keep(&mut self, event: Event) {
        self.bytes += event.encoded_len();
        self.events.push_back(event);
        while self.events.len() > EVENTS || self.bytes > BYTES {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.encoded_len();
        }
    }

    /// Writes the file anew. Where that fails, events are kept in memory alone.
    fn rewrite(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes);
        for event in &self.events {
            bytes.extend(event.encode_length_delimited_to_vec());
        }
        self.written = bytes.len();
        let new = self.path.with_extension("new");
        let written = (|| -> io::Result<File> {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            fs::rename(&new, &self.path)?;
            Ok(file)
        })();
        self.file = match written {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!(%error, "events are not kept in {}", self.path.display());
                None
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize, length: usize) -> Event {
        Event {
            action: number.to_string(),
            id: "x".repeat(length),
            ..Event::default()
        }
    }

    fn actions(ring: &Ring) -> Vec<String> {
        ring.events()
            .into_iter()
            .map(|event| event.action)
            .collect()
    }

    #[test]
    fn the_latest_events_outlive_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(directory.path());
        for number in 0..3000 {
            ring.push(event(number, 10));
        }
        let kept = actions(&ring);
        assert_eq!(
            (kept.len(), kept.first().unwrap().as_str()),
            (EVENTS, "1976")
        );
        assert_eq!(actions(&Ring::open(directory.path())), kept);
    }

    #[test]
    fn long_events_are_fewer_in_memory_and_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(directory.path());
        for number in 0..100 {
            ring.push(event(number, 100_000));
        }
        assert_eq!(actions(&ring).len(), 10);
        let length = fs::metadata(directory.path().join("events")).unwrap().len();
        assert!(length <= 2 * BYTES as u64, "{length}");
        assert_eq!(actions(&Ring::open(directory.path())), actions(&ring));
    }

    #[test]
    fn half_an_event_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let mut ring = Ring::open(directory.path());
        ring.push(event(1, 10));
        ring.push(event(2, 10));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let mut ring = Ring::open(directory.path());
        ring.push(event(3, 10));
        assert_eq!(actions(&Ring::open(directory.path())), ["1", "3"]);
    }
}
