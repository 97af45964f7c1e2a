//! Processes of the host, by their ids.

use std::path::PathBuf;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// Sends SIGKILL to a process.
///
/// # Errors
///
/// Where there is none of that id.
pub fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("no process id")?;
    kill_process(pid, Signal::KILL)?;
    Ok(())
}

/// Returns whether a process runs. One that ended and is not reaped does not.
#[must_use]
pub fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

/// Counts the open file descriptors of a process.
///
/// # Errors
///
/// Where it does not run.
pub fn descriptors(pid: u32) -> anyhow::Result<usize> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    Ok(std::fs::read_dir(folder)?.count())
}

/// Returns the resident memory of a process, bytes.
///
/// # Errors
///
/// Where it does not run.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}
