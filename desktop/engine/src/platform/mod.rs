//! What differs between the host's operating systems, outside the hypervisors.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
use other as imp;
mod routes;

use std::net::SocketAddr;
use std::path::Path;

pub(crate) use imp::ClockJumps;

/// Whether a port carries streams or datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// Returns its name as in `8080:80/tcp`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Returns what changes with every boot of the host; empty where that is not known.
pub(crate) fn boot_id() -> String {
    imp::boot_id()
}

/// Has a command killed when the thread that spawns it ends, where the platform
/// can.
pub(crate) fn die_with_parent(command: &mut tokio::process::Command) {
    imp::die_with_parent(command);
}

/// Raises the limit of open descriptors to the most that is allowed.
pub(crate) fn raise_open_file_limit() {
    imp::raise_open_file_limit();
}

/// Returns how many descriptors this process may have open.
pub(crate) fn open_file_limit() -> u64 {
    imp::open_file_limit()
}

/// Returns the memory that processes take, bytes, what they share counted once;
/// 0 where that is not known.
pub(crate) fn resident(processes: &[u32]) -> u64 {
    processes
        .iter()
        .map(|process| imp::resident(*process))
        .sum()
}

/// Returns the bytes that a sparse file takes on its disk.
pub(crate) fn allocated(path: &Path) -> u64 {
    imp::allocated(path)
}

/// Returns the networks that the host has routes to, VPNs' among them, as
/// "10.8.0.0/16"; those of default routes are not among them. Empty where the
/// table cannot be read.
pub(crate) fn routes() -> Vec<String> {
    routes::networks()
}

/// Returns the program that holds a port, `"nginx (pid 7)"`, if the platform
/// tells.
pub(crate) fn port_owner(protocol: Protocol, address: SocketAddr) -> Option<String> {
    imp::port_owner(protocol, address)
}

/// Tells whether a socket could not be made because the host does not have its
/// family of addresses.
pub(crate) fn has_no_family(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    let code = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    // WSAEAFNOSUPPORT.
    #[cfg(not(unix))]
    let code = 10_047;
    error.raw_os_error() == Some(code)
}
