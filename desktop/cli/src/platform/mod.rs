//! What the operating system tells a command: signals to pass on to the
//! container, changes of the terminal's size, where a file has holes.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{extents, resizes, signals};
#[cfg(windows)]
pub(crate) use windows::{extents, resizes, signals};

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

/// The parts of a file that have content: offsets and lengths, bytes. The last
/// may be empty and only say where the file ends.
pub(crate) type Extents = Vec<(u64, u64)>;

/// A signal that this process received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    /// Its name as the engine takes it, `"TERM"`.
    pub(crate) name: &'static str,
    /// Its number, for the exit code.
    pub(crate) number: u8,
}

/// What happens from the moment of asking, until it is dropped.
pub(crate) struct Notices<T> {
    receiver: Receiver<T>,
    /// Aborted with this.
    _watchers: JoinSet<()>,
}

impl<T> Notices<T> {
    /// Waits for the next one. Cancellation-safe.
    pub(crate) async fn next(&mut self) -> Option<T> {
        self.receiver.recv().await
    }
}
