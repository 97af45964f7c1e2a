//! What only the operating system can answer: the host's memory, whether a
//! folder is writable, and how a process is started that outlives its starter.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::detach;
#[cfg(unix)]
pub(crate) use unix::{check_writable, host_memory};
#[cfg(windows)]
pub use windows::detach;
#[cfg(windows)]
pub(crate) use windows::{check_writable, host_memory};
