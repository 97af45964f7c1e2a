//! One process for one creation.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::fcntl::OFlag;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{ForkResult, fork, pipe2};

use serde::{Deserialize, Serialize};

use crate::runtime::protocol::{Failure, FailureKind};

/// A process that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) struct Made {
    pub(in crate::runtime) pid: i32,
    /// Who it runs as.
    pub(in crate::runtime) uid: u32,
}

/// A creation under way in a process of its own.
#[derive(Debug)]
pub(in crate::runtime) struct Creation {
    result: File,
    received: Vec<u8>,
}

impl Creation {
    /// Reads what came of it, if that is known; [`AsFd`] becomes readable then.
    pub(in crate::runtime) fn poll(&mut self) -> Option<Result<Made, Failure>> {
        let mut chunk = [0; 1024];
        loop {
            match self.result.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    // The container's process holds the pipe too until it runs
                    // its command, so the end is a line's and not the file's.
                    if self.received.ends_with(b"\n") {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        Some(serde_json::from_slice(&self.received).unwrap_or_else(|_| {
            Err(Failure {
                kind: FailureKind::Other,
                message: "the process that makes containers ended without an answer".to_owned(),
            })
        }))
    }
}

impl AsFd for Creation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.result.as_fd()
    }
}

/// Runs `job` in a fork of this process, which must have one thread. The fork
/// keeps only the descriptors in `keep` and its standard streams.
pub(in crate::runtime) fn in_child(
    keep: &[RawFd],
    job: impl FnOnce() -> Result<Made, Failure>,
) -> io::Result<Creation> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // SAFETY: this process has one thread, so the child may allocate and lock.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(Creation {
            result: read.into(),
            received: Vec::new(),
        }),
        ForkResult::Child => {
            become_creator(keep, write.as_raw_fd());
            let result = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| {
                Err(Failure {
                    kind: FailureKind::Other,
                    message: "the process that makes containers failed".to_owned(),
                })
            });
            let mut bytes = serde_json::to_vec(&result).unwrap_or_default();
            bytes.push(b'\n');
            // Small enough for an empty pipe to take at once.
            let _ = File::from(write).write_all(&bytes);
            // SAFETY: ends the process without running what belongs to the shim.
            unsafe { libc::_exit(0) }
        }
    }
}

fn become_creator(keep: &[RawFd], result: RawFd) {
    // What the shim ignores or blocks must not reach the container.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    // SAFETY: sets a default disposition, no handler.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    // Other clients' sockets and other processes' pipes are none of its
    // business; held here they would hide their end from the other side.
    let mut kept: Vec<RawFd> = keep.to_vec();
    kept.push(result);
    kept.sort_unstable();
    let mut first = 3;
    for descriptor in kept {
        close_range(first, descriptor - 1);
        first = first.max(descriptor + 1);
    }
    close_range(first, RawFd::MAX);
}

fn close_range(first: RawFd, last: RawFd) {
    if first <= last {
        // SAFETY: closes descriptors that nothing in this process uses from
        // here on: their owners in the shim's memory are never dropped, since
        // the process ends with _exit.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn made(pid: i32) -> Made {
        Made { pid, uid: 0 }
    }

    fn outcome(mut creation: Creation) -> Result<Made, Failure> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(result) = creation.poll() {
                return result;
            }
            assert!(Instant::now() < deadline, "no answer");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_creation_that_panics_is_a_failure() {
        let creation = in_child(&[], || std::panic::resume_unwind(Box::new(()))).unwrap();
        assert!(outcome(creation).is_err());
        let creation = in_child(&[], || Ok(made(7))).unwrap();
        assert_eq!(outcome(creation).unwrap(), made(7));
    }

    #[test]
    fn a_creation_holds_no_descriptor_it_was_not_given() {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let held = write.as_raw_fd();
        let creation = in_child(&[read.as_raw_fd()], move || {
            // SAFETY: F_GETFD only asks.
            let open = unsafe { libc::fcntl(held, libc::F_GETFD) } != -1;
            Ok(made(i32::from(open)))
        });
        assert_eq!(outcome(creation.unwrap()).unwrap(), made(0));
        drop((read, write));
    }
}
