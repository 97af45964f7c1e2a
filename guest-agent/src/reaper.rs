//! The init of a container that asks for one: it starts the command, passes
//! signals on to it, reaps what is left to it, and ends as the command does.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The name by which the agent is called for this, Docker's.
pub(crate) const NAME: &str = "docker-init";

/// Runs the command after `--`, as PID 1 of its container.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let command = match arguments.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => arguments,
    };
    let Some((program, arguments)) = command.split_first() else {
        eprintln!("{NAME}: no command was given");
        return ExitCode::from(2);
    };
    let signals = every_signal();
    block(&signals);
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(begin);
    }
    let child = match command.spawn() {
        Ok(child) => child.id().cast_signed(),
        Err(error) => {
            eprintln!("{NAME}: exec {}: {error}", program.to_string_lossy());
            let missing = error.kind() == io::ErrorKind::NotFound;
            return ExitCode::from(if missing { 127 } else { 126 });
        }
    };
    loop {
        let mut number = 0;
        // SAFETY: both point to what lives here.
        if unsafe { libc::sigwait(&signals, &mut number) } != 0 {
            continue;
        }
        if number != libc::SIGCHLD {
            // SAFETY: sends a signal. The child is not reaped yet.
            unsafe { libc::kill(child, number) };
            continue;
        }
        if let Some(code) = reap(child) {
            return ExitCode::from(code);
        }
    }
}

fn every_signal() -> libc::sigset_t {
    // SAFETY: fills the set, which has no invalid values.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&mut set);
        set
    }
}

fn block(signals: &libc::sigset_t) {
    // SAFETY: changes this thread's mask; there is no other thread.
    unsafe {
        libc::sigprocmask(libc::SIG_BLOCK, signals, std::ptr::null_mut());
    }
}

/// In the child: the foreground of its terminal, and no signal blocked.
fn begin() -> io::Result<()> {
    // SAFETY: system calls alone. SIGTTOU is still blocked, so that taking the
    // terminal does not stop it; without a terminal there is nothing to take.
    unsafe {
        libc::setpgid(0, 0);
        libc::tcsetpgrp(0, libc::getpid());
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    Ok(())
}

/// Reaps every process that has ended. Returns the exit code of `child` once it
/// is among them.
fn reap(child: i32) -> Option<u8> {
    let mut code = None;
    loop {
        let mut status = 0;
        // SAFETY: writes to `status` alone.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        if pid <= 0 {
            return code;
        }
        if pid == child {
            code = Some(if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status) as u8
            } else {
                libc::WEXITSTATUS(status) as u8
            });
        }
    }
}
