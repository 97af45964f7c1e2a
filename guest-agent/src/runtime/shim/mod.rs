//! The process that holds one container: its processes, their standard
//! streams, its log and its exit status. It outlives `serve`.
//!
//! One thread around poll(2), and as little memory as possible, since there is
//! one of these for each container. Attached clients' bulk streams are served
//! here, on sockets that `serve` hands over, so they outlive `serve` too.

mod control;
mod log;
mod memory;
mod replay;
mod server;
mod stdio;
mod stream;
mod task;
mod time;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs a shim. The arguments are its directory; standard input is its
/// listening socket (see [`super::Shim::spawn`]).
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let [directory] = arguments else {
        eprintln!("usage: wherry-agent shim DIRECTORY, with a listening socket as standard input");
        return ExitCode::from(2);
    };
    match run(PathBuf::from(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shim {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn run(directory: PathBuf) -> io::Result<()> {
    let listener = take_standard_input()?;
    // A session of its own: what ends serve's does not reach it. It fails only
    // where this process leads a group already.
    let _ = nix::unistd::setsid();
    // Processes of the container become this one's children when the process
    // that created them ends.
    nix::sys::prctl::set_child_subreaper(true)?;
    // The container goes first when memory runs out.
    let _ = fs::write("/proc/self/oom_score_adj", "-999");
    // Paths in it may be longer than a socket's address; relative ones are not.
    std::env::set_current_dir(&directory)?;
    server::Server::new(directory, UnixListener::from(listener))?.run()
}

/// Moves the listening socket off descriptor 0, which a container's standard
/// streams must not meet.
fn take_standard_input() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    let listener = stdin.as_fd().try_clone_to_owned()?;
    let null = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(listener)
}
