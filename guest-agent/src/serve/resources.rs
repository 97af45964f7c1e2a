//! What the guest has and uses: memory, disk, processors.

use std::path::Path;

/// Total and available memory, bytes.
pub(crate) fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
        Some(kibibytes * 1024)
    };
    (
        field("MemTotal:").unwrap_or(0),
        field("MemAvailable:").unwrap_or(0),
    )
}

/// Total and available space of the file system at `path`, bytes.
pub(super) fn disk(path: &Path) -> (u64, u64) {
    match rustix::fs::statvfs(path) {
        Ok(status) => (
            status.f_blocks * status.f_frsize,
            status.f_bavail * status.f_frsize,
        ),
        Err(_) => (0, 0),
    }
}

/// Resident memory of a process, bytes; 0 when it is gone.
pub(crate) fn resident(process: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages: u64 = text
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// The machine's architecture by the name that OCI has for it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
