//! Platforms other than Linux.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::Protocol;

/// How often the clocks are compared.
const TICK: Duration = Duration::from_secs(1);

/// By how much the clocks may drift apart between two looks.
const DRIFT: Duration = Duration::from_millis(500);

pub(super) fn boot_id() -> String {
    String::new()
}

pub(super) fn die_with_parent(_command: &mut tokio::process::Command) {}

pub(super) fn raise_open_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        // macOS takes no more than OPEN_MAX, setrlimit(2).
        limit.current = Some(limit.maximum.unwrap_or(10_240).min(10_240));
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

pub(super) fn open_file_limit() -> u64 {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current.unwrap_or(10_240)
    }
    #[cfg(not(unix))]
    65_536
}

pub(super) fn resident(_process: u32) -> u64 {
    0
}

pub(super) fn allocated(path: &Path) -> u64 {
    let Ok(metadata) = path.metadata() else {
        return 0;
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        metadata.blocks() * 512
    }
    #[cfg(not(unix))]
    metadata.len()
}

pub(super) fn port_owner(_protocol: Protocol, _address: SocketAddr) -> Option<String> {
    None
}

/// Tells when the wall clock jumps: set by hand, or gone on while the host slept.
pub(crate) struct ClockJumps {
    wall: SystemTime,
    monotonic: Instant,
}

impl ClockJumps {
    /// Begins to watch.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        })
    }

    /// Waits for the next jump.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::time::sleep(TICK).await;
            let expected = self.wall + self.monotonic.elapsed();
            self.wall = SystemTime::now();
            self.monotonic = Instant::now();
            let ahead = self.wall.duration_since(expected);
            let behind = expected.duration_since(self.wall);
            if ahead.or(behind).is_ok_and(|offset| offset > DRIFT) {
                return;
            }
        }
    }
}
