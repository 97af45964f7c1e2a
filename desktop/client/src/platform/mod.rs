//! What only the operating system can answer: the host's memory, whether a
//! folder is writable, and how a process is started that outlives its starter
//! or is of the same program.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{check_writable, host_memory};
#[cfg(unix)]
pub use unix::{detach, others_may_read, this_program};
#[cfg(windows)]
pub(crate) use windows::{check_writable, host_memory};
#[cfg(windows)]
pub use windows::{detach, others_may_read, this_program};
