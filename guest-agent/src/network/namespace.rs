//! Network namespaces that live on as bind mounts, as `ip netns` keeps them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::NetworkError;

/// The calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// Runs `work` on a thread of its own, so that no thread that goes on ever
/// changes its namespace, and returns what it returned.
fn on_own_thread<T: Send>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    thread::scope(|scope| {
        let running = thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, work)
            .map_err(NetworkError::kernel(
                "start a thread for a network namespace",
            ))?;
        running
            .join()
            .unwrap_or_else(|_| Err(NetworkError::Interrupted("a network namespace".to_owned())))
    })
}

/// Makes a namespace, keeps it at `path`, and runs `work` inside, which gets
/// the namespace's own file.
pub(super) fn create<T: Send>(
    path: &Path,
    work: impl FnOnce(&File) -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(NetworkError::file("create", folder))?;
    }
    File::create(path).map_err(NetworkError::file("create", path))?;
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .map_err(NetworkError::kernel("make a network namespace"))?;
        mount(
            Some(OWN),
            path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(io::Error::from)
        .map_err(NetworkError::file("mount a network namespace at", path))?;
        set_defaults();
        let own = File::open(OWN).map_err(NetworkError::file("open", OWN))?;
        work(&own)
    })
}

/// Sets the calling thread's namespace up as Docker does: no IPv6 on interfaces
/// to come (the loopback keeps ::1), ping and low ports without privileges.
fn set_defaults() {
    for (name, value) in [
        ("ipv6/conf/default/disable_ipv6", "1"),
        ("ipv4/ip_unprivileged_port_start", "0"),
        ("ipv4/ping_group_range", "0 2147483647"),
    ] {
        // A kernel without the setting (no IPv6) has nothing to switch.
        if let Err(error) = fs::write(format!("/proc/sys/net/{name}"), value) {
            tracing::debug!(name, %error, "cannot set a network parameter");
        }
    }
}

/// Runs `work` inside the namespace at `path`.
pub(super) fn inside<T: Send>(
    path: &Path,
    work: impl FnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    let namespace = File::open(path).map_err(NetworkError::file("open", path))?;
    on_own_thread(|| {
        setns(&namespace, CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .map_err(NetworkError::file("enter the network namespace", path))?;
        work()
    })
}

/// Lets go of the namespace at `path`: it ends with its last process. Fine if
/// there is none.
pub(super) fn remove(path: &Path) -> Result<(), NetworkError> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // EINVAL: the file is there and nothing is mounted on it.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(NetworkError::file("unmount", path)(errno.into())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetworkError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
