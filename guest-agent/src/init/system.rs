//! What init sets once: clock, host name, limits, loopback, kernel settings.

use std::fs;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use super::command_line::CommandLine;
use super::console::say;

/// Open files that one process may have; the kernel's own ceiling.
const OPEN_FILES: u64 = 1_048_576;

/// Sets the clock to the host's time at boot, as far as the host gave it.
pub(super) fn set_clock(command_line: &CommandLine) {
    let Some(time) = command_line.time else {
        return;
    };
    let time = libc::timespec {
        tv_sec: time.div_euclid(1_000_000_000),
        tv_nsec: time.rem_euclid(1_000_000_000),
    };
    // SAFETY: `time` lives through the call.
    if unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) } != 0 {
        say(&format!(
            "init: cannot set the clock: {}",
            std::io::Error::last_os_error()
        ));
    }
}

/// Sets everything else. What fails is named and left.
pub(super) fn set_up() {
    if let Err(error) = nix::unistd::sethostname("wherry") {
        say(&format!("init: cannot set the host name: {error}"));
    }
    loopback_up();
    // Containers inherit them, as they do dockerd's. Locked memory stays at the
    // kernel's own 8 MiB, which Docker's containers have too.
    let limits = [
        (Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (Resource::RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY),
        (Resource::RLIMIT_CORE, 0, RLIM_INFINITY),
    ];
    for (resource, soft, hard) in limits {
        if let Err(error) = setrlimit(resource, soft, hard) {
            say(&format!("init: cannot set the limit {resource:?}: {error}"));
        }
    }
    let settings = [
        ("net/ipv4/ip_forward", "1"),
        // What stays on one bridge passes no filter: no network's rules are about it,
        // and each packet between the agent and a container would meet them twice.
        // Engines inside containers have these in network namespaces of their own.
        ("net/bridge/bridge-nf-call-iptables", "0"),
        ("net/bridge/bridge-nf-call-ip6tables", "0"),
        ("net/bridge/bridge-nf-call-arptables", "0"),
        ("vm/max_map_count", "262144"),
        ("fs/inotify/max_user_instances", "8192"),
        ("fs/inotify/max_user_watches", "1048576"),
        // A container's processes may fill the table without reaching PID 1.
        ("kernel/pid_max", "4194304"),
    ];
    for (name, value) in settings {
        if let Err(error) = fs::write(format!("/proc/sys/{name}"), value) {
            say(&format!("init: cannot set {name}: {error}"));
        }
    }
}

fn loopback_up() {
    // SAFETY: an all-zero `ifreq` is valid; the name is shorter than its field.
    let result = unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let result = libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &request);
        let error = std::io::Error::last_os_error();
        libc::close(socket);
        (result, error)
    };
    if result.0 != 0 {
        say(&format!("init: cannot bring the loopback up: {}", result.1));
    }
}
