//! The way down: everything killed, synced, unmounted, powered off.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::console::say;
use super::mounts::DATA;
use super::supervise::reap;

/// How long processes get to end on SIGTERM. `serve` has stopped the
/// containers before it asks to power off.
const PATIENCE: Duration = Duration::from_millis(500);

/// Ends every process, saves the data disk and powers off.
pub(super) fn off() -> ! {
    say("init: powering off");
    end_everything(Signal::SIGTERM, PATIENCE);
    end_everything(Signal::SIGKILL, Duration::from_secs(2));
    nix::unistd::sync();
    unmount_below(DATA);
    nix::unistd::sync();
    loop {
        // QEMU runs with -no-reboot, so that both end it.
        let _ = reboot(RebootMode::RB_POWER_OFF);
        let _ = reboot(RebootMode::RB_AUTOBOOT);
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn end_everything(signal: Signal, patience: Duration) {
    // From PID 1, -1 is every process but itself.
    if kill(Pid::from_raw(-1), signal).is_err() {
        return;
    }
    let deadline = Instant::now() + patience;
    // Every process is a descendant of PID 1, so none is left once it has no
    // child. (Asking kill(-1, 0) instead would count kernel threads.)
    while Instant::now() < deadline && !childless() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn childless() -> bool {
    while reap().is_some() {}
    waitpid(None, Some(WaitPidFlag::WNOHANG)) == Err(Errno::ECHILD)
}

/// Unmounts everything at or below `directory`, innermost first. What stays
/// busy is detached and made read-only, so that its journal is clean.
fn unmount_below(directory: &str) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let targets = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let inside = targets.filter(|target| std::path::Path::new(target).starts_with(directory));
    for target in inside.collect::<Vec<_>>().into_iter().rev() {
        if umount2(target, MntFlags::empty()).is_ok() {
            continue;
        }
        const NONE: Option<&str> = None;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let remounted = mount(NONE, target, NONE, flags, NONE);
        let detached = umount2(target, MntFlags::MNT_DETACH);
        if remounted.is_err() && detached.is_err() {
            say(&format!("init: {target} stays mounted"));
        }
    }
}
