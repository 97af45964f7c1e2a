//! PID 1 of the guest: mounts, reaps, and keeps `serve` running.
//!
//! It stays tiny and single-threaded, and nothing that happens to its children
//! ends it: the kernel panics when PID 1 does.

mod command_line;
mod console;
mod mounts;
mod power;
mod supervise;
mod system;

use std::process::ExitCode;

use command_line::CommandLine;
use console::say;

/// Runs PID 1. Returns only where it is started by mistake, not as PID 1.
pub(crate) fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("wherry-agent init: it only runs as PID 1 of the guest");
        return ExitCode::from(2);
    }
    // Nothing may unwind out of PID 1.
    let end = std::panic::catch_unwind(boot);
    if end.is_err() {
        say("init: an internal error, powering off");
    }
    power::off()
}

fn boot() {
    // Signals first, so that no request to power off is lost.
    supervise::block_signals();
    if let Err(error) = mounts::leave_rootfs() {
        say(&format!(
            "init: cannot make the root a mount of its own: {error}"
        ));
    }
    mounts::kernel_file_systems();
    console::open();
    let command_line = CommandLine::read();
    system::set_clock(&command_line);
    system::set_up();
    if let Err(error) = mounts::data_disk(&command_line.data) {
        say(&format!("init: FATAL: {error}; powering off"));
        return;
    }
    mounts::shares(&command_line.shares);
    let cgroup = mounts::cgroup();
    supervise::run(cgroup.as_deref(), &command_line);
}
