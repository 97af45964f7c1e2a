//! What `serve` and a shim say to each other on the shim's socket.
//!
//! Messages are JSON behind a 32-bit little-endian length. A request may carry
//! one descriptor, passed with SCM_RIGHTS on the first byte of its message.
//! Replies bear their request's number; events have none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::log_files::LogLimits;
use super::spec::User;

/// The longest message either side accepts, bytes.
pub(super) const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The name of the shim's socket in its directory.
pub(super) const SOCKET: &str = "shim.sock";

/// How a shim holds its container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    /// The container's id.
    pub(crate) id: String,
    /// Where the container's output is logged, in Docker's `json-file` format.
    pub(crate) log: Option<PathBuf>,
    /// How much of it is kept.
    #[serde(default)]
    pub(crate) log_limits: LogLimits,
    /// Where the exit status is written when the container exits, on the data disk.
    pub(crate) exit: PathBuf,
    /// The container's cgroup below `/sys/fs/cgroup`, as in the specification.
    pub(crate) cgroup: PathBuf,
    /// The container has a terminal.
    pub(crate) terminal: bool,
    /// The terminal's first size.
    pub(crate) terminal_size: Option<TerminalSize>,
    /// Keep standard input open; otherwise it is empty.
    pub(crate) open_stdin: bool,
    /// Close standard input when the first attached client ends its own.
    pub(crate) stdin_once: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TerminalSize {
    /// Lines.
    pub(crate) rows: u16,
    /// Characters in a line.
    pub(crate) columns: u16,
}

/// What an attached client takes part in.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AttachOptions {
    /// Its Data frames are the container's standard input.
    pub(crate) stdin: bool,
    /// It gets standard output (and a terminal's).
    pub(crate) stdout: bool,
    /// It gets standard error.
    pub(crate) stderr: bool,
    /// What was logged so far comes first.
    pub(crate) logs: bool,
}

/// A process to run in a container beside its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExecSpec {
    /// The exec's id, unique in the container.
    pub(crate) id: String,
    /// The command line.
    pub(crate) args: Vec<String>,
    /// `KEY=value`, over the container's own environment.
    pub(crate) env: Vec<String>,
    /// The working directory; the container's own where absent.
    pub(crate) cwd: Option<String>,
    /// Who runs it; the container's own user where absent.
    pub(crate) user: Option<User>,
    /// It gets a terminal.
    pub(crate) terminal: bool,
    /// The terminal's first size.
    pub(crate) terminal_size: Option<TerminalSize>,
    /// Its standard input is what the client sends; otherwise it is empty.
    pub(crate) open_stdin: bool,
    /// It has every capability and no seccomp profile.
    pub(crate) privileged: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitStatus {
    /// 0 to 255; 128 and the signal's number when killed by one.
    pub(crate) code: i32,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// How many processes of the container the kernel killed for want of memory,
    /// since its start.
    #[serde(default)]
    pub(crate) oom_kills: u64,
    /// When, in nanoseconds since 1970.
    pub(crate) finished_ns: i64,
}

impl ExitStatus {
    /// Returns what a shim wrote to [`ShimConfig::exit`]; `None` before the exit.
    ///
    /// # Errors
    ///
    /// Those of reading the file; `InvalidData` for one that is no exit status.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ShimStatus {
    /// The shim waits for `create`.
    Empty,
    /// Made, its command not yet running.
    Created,
    /// Running.
    Running,
    /// Ended; the exit status is known.
    Exited,
}

/// A shim and its container, as of now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShimState {
    /// The shim's own process.
    pub(crate) shim_pid: u32,
    /// Where the container is in its life.
    pub(crate) status: ShimStatus,
    /// The container's first process; 0 before it is made and after it ended.
    pub(crate) pid: u32,
    /// How it ended.
    pub(crate) exit: Option<ExitStatus>,
    /// The ids of the execs that run.
    pub(crate) execs: Vec<String>,
    /// Its processes are held.
    pub(crate) paused: bool,
}

/// Why a shim refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    /// The command is not in the container: exit code 127.
    CommandNotFound,
    /// The command cannot be executed: exit code 126.
    CommandNotExecutable,
    /// The container is in another state than the request needs.
    WrongState,
    /// There is no such exec.
    NoSuchExec,
    /// Anything else; the message says what.
    Other,
}

/// What `serve` asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    Create(ShimConfig),
    Start,
    Kill(i32),
    KillAll,
    /// Hold every process of the container, or let them go on.
    Freeze(bool),
    Attach(AttachOptions),
    Exec(ExecSpec),
    /// SIGKILL for the process of an exec.
    KillExec(String),
    Resize {
        exec: Option<String>,
        size: TerminalSize,
    },
    State,
    Delete,
}

/// A call with its number, as it goes over the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) number: u64,
    /// A descriptor comes with it.
    pub(super) descriptor: bool,
    pub(super) call: Call,
}

/// What a call that succeeded returns.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Done,
    Pid(u32),
    State(ShimState),
}

/// A call that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) message: String,
}

/// What a shim says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Answer {
        number: u64,
        answer: Answer,
    },
    Failure {
        number: u64,
        failure: Failure,
    },
    Exited(ExitStatus),
    ExecExited {
        exec: String,
        status: ExitStatus,
    },
    /// Processes killed for want of memory so far, the container's and execs'.
    OutOfMemory(u64),
}

/// Returns the bytes of a message.
pub(super) fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    // These types have no map and no `Serialize` of their own that could fail.
    if serde_json::to_writer(&mut bytes, message).is_err() {
        bytes.truncate(4);
    }
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Takes one whole message off the front of `buffer`, if there is one.
///
/// # Errors
///
/// `InvalidData` for a message that is too long.
pub(super) fn take(buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message that is too long",
        ));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let message = buffer[4..4 + length].to_vec();
    buffer.drain(..4 + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_back_whole_however_they_are_cut(signals in proptest::collection::vec(any::<i32>(), 0..20), cut in 1usize..50) {
            let wire: Vec<u8> = signals
                .iter()
                .flat_map(|&signal| encode(&Call::Kill(signal)))
                .collect();
            let mut buffer = Vec::new();
            let mut seen = Vec::new();
            for piece in wire.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(message) = take(&mut buffer).unwrap() {
                    match serde_json::from_slice(&message).unwrap() {
                        Call::Kill(signal) => seen.push(signal),
                        other => panic!("{other:?}"),
                    }
                }
            }
            prop_assert_eq!(seen, signals);
        }
    }

    #[test]
    fn a_message_above_the_limit_is_refused() {
        let mut buffer = vec![0xff; 8];
        assert!(take(&mut buffer).is_err());
    }
}
