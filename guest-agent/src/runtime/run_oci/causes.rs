//! Why libcontainer failed, in full. What fails in the processes that it forks
//! comes back as the first words of the error alone ("failed to prepare
//! rootfs"); what it was about is in the events that it traces on the way.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The most that is told, bytes.
const MOST: usize = 1024;

/// The errors that this process, and those that it forks, trace from now on.
pub(super) struct Causes(File);

impl Causes {
    /// Begins to collect; `None` where the process has another use for traces.
    pub(super) fn collect() -> Option<Self> {
        // Shared with all forks, and gone with the last of them.
        let memory = rustix::fs::memfd_create("causes", MemfdFlags::CLOEXEC).ok()?;
        let file = File::from(memory);
        let collector = Collector(file.try_clone().ok()?);
        tracing::subscriber::set_global_default(collector).ok()?;
        Some(Self(file))
    }

    /// Puts what was traced behind what is known of a failure.
    pub(super) fn explain(&self, known: &str) -> String {
        let mut text = vec![0; MOST];
        let length = self.0.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..length]);
        let mut explained = known.to_owned();
        // The first is the cause; what follows is who was told of it.
        if let Some(cause) = text.lines().find(|line| !known.contains(line)) {
            let _ = write!(explained, ": {cause}");
        }
        explained
    }
}

struct Collector(File);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        let line = match words.fields.as_str() {
            "" => words.message,
            fields => format!("{} ({fields})", words.message),
        };
        // In one write, for others may write too.
        let _ = (&self.0).write_all(format!("{}\n", line.replace('\n', " ")).as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event in words: its message, and the rest as `name: value`.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match (field.name(), self.fields.as_str()) {
            ("message", _) => write!(self.message, "{value:?}"),
            (name, "") => write!(self.fields, "{name}: {value:?}"),
            (name, _) => write!(self.fields, ", {name}: {value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_explains_a_failure() {
        let file = File::from(rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC).unwrap());
        let causes = Causes(file.try_clone().unwrap());
        assert_eq!(causes.explain("it failed"), "it failed");
        tracing::subscriber::with_default(Collector(file), || {
            tracing::warn!("no error");
            tracing::error!(err = ?"EPERM", path = ?"/x", "cannot\nmount");
            tracing::error!("told");
        });
        assert_eq!(
            causes.explain("it failed"),
            "it failed: cannot mount (err: \"EPERM\", path: \"/x\")"
        );
    }
}
