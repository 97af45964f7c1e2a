//! Linux.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::Protocol;

/// What a process may have open at most, if the system sets no limit.
const MOST_OPEN_FILES: u64 = 1 << 20;

pub(super) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

pub(super) fn die_with_parent(command: &mut tokio::process::Command) {
    let parent = rustix::process::getpid();
    let order = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the line above.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::other("the parent process is gone"));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls, which
    // are async-signal-safe, and allocates only where it fails.
    unsafe { command.pre_exec(order) };
}

pub(super) fn raise_open_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.maximum.unwrap_or(MOST_OPEN_FILES));
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

pub(super) fn open_file_limit() -> u64 {
    getrlimit(Resource::Nofile)
        .current
        .unwrap_or(MOST_OPEN_FILES)
}

/// The proportional set size, proc_pid_smaps_rollup(5): the guest's memory is
/// mapped by QEMU and by this process, and counts once.
pub(super) fn resident(process: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
    let kibibytes = rollup.ok().and_then(|rollup| {
        let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    });
    kibibytes.unwrap_or(0) * 1024
}

pub(super) fn allocated(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // st_blocks counts 512 bytes whatever the file system, stat(2).
    path.metadata()
        .map_or(0, |metadata| metadata.blocks() * 512)
}

pub(super) fn port_owner(protocol: Protocol, address: SocketAddr) -> Option<String> {
    let inode = socket_inode(protocol, address)?;
    let target = format!("socket:[{inode}]");
    let holds = |process: &Path| {
        let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten();
        descriptors.flatten().any(|fd| {
            std::fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == target.as_str())
        })
    };
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if holds(&process.path()) {
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// Finds the socket that keeps `address` from being bound in `/proc/net/tcp`
/// and its like, proc_net_tcp(5).
fn socket_inode(protocol: Protocol, wanted: SocketAddr) -> Option<u64> {
    let tables = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
    };
    tables.into_iter().find_map(|table| {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).ok()?;
        text.lines()
            .skip(1)
            .filter_map(|line| parse_socket(line, protocol))
            .find(|(bound, _)| conflicts(*bound, wanted))
            .map(|(_, inode)| inode)
    })
}

fn parse_socket(line: &str, protocol: Protocol) -> Option<(SocketAddr, u64)> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    if protocol == Protocol::Tcp && state != LISTEN {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits in the host's byte order.
    let mut bytes = Vec::with_capacity(16);
    for word in 0..address.len() / 8 {
        let word = u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some((SocketAddr::new(address, port), inode))
}

fn conflicts(bound: SocketAddr, wanted: SocketAddr) -> bool {
    let any = |address: SocketAddr| address.ip().is_unspecified();
    // A wildcard of IPv6 takes IPv4 too, unless it was told not to.
    let everywhere = bound.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    bound.port() == wanted.port()
        && (bound.ip() == wanted.ip()
            || everywhere
            || bound.is_ipv4() == wanted.is_ipv4() && (any(bound) || any(wanted)))
}

/// Tells when the wall clock jumps: set by hand, or gone on while the host
/// slept. It costs nothing between jumps.
pub(crate) struct ClockJumps {
    timer: AsyncFd<OwnedFd>,
}

impl ClockJumps {
    /// Begins to watch.
    pub(crate) fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        arm(&timer)?;
        // SAFETY: the descriptor is owned by what is registered, so it stays the
        // same and open for as long as that is.
        let timer = unsafe { AsyncFd::register(timer) }.map_err(io::Error::other)?;
        Ok(Self { timer })
    }

    /// Waits for the next jump. Cancellation-safe.
    pub(crate) async fn next(&mut self) {
        loop {
            let Ok(mut ready) = self.timer.readable().await else {
                return std::future::pending().await;
            };
            let mut expirations = [0; 8];
            let read = ready
                .try_io(|timer| rustix::io::read(timer, &mut expirations).map_err(io::Error::from));
            match read {
                // The clock was set or the host woke: ECANCELED, timerfd_create(2).
                Ok(_) => {
                    let _ = arm(self.timer.get_ref());
                    return;
                }
                Err(_would_block) => {}
            }
        }
    }
}

/// Arms a timer that expires in a far future, but is cancelled when the clock
/// jumps.
fn arm(timer: &OwnedFd) -> io::Result<()> {
    const FAR: Timespec = Timespec {
        tv_sec: 1 << 40,
        tv_nsec: 0,
    };
    let once = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: FAR,
    };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    match timerfd_settime(timer, flags, &once) {
        // The clock jumped since the last time it was armed; it is armed now.
        Ok(_) | Err(rustix::io::Errno::CANCELED) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_that_holds_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = port_owner(Protocol::Tcp, listener.local_addr().unwrap()).unwrap();
        assert!(
            owner.contains(&format!("(pid {})", std::process::id())),
            "{owner}"
        );
    }

    #[test]
    fn the_program_that_holds_a_wildcard_is_named_for_an_address_of_it() {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let owner = port_owner(Protocol::Udp, ([127, 0, 0, 1], port).into()).unwrap();
        assert!(
            owner.contains(&format!("(pid {})", std::process::id())),
            "{owner}"
        );
    }

    #[test]
    fn a_limit_can_be_raised_and_read() {
        raise_open_file_limit();
        assert!(open_file_limit() >= 1024);
    }

    #[test]
    fn this_process_takes_memory() {
        assert!(resident(std::process::id()) > 0);
    }
}
