//! What init mounts: the kernel's file systems, the data disk, the shares.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::console::say;

/// Where the data disk goes.
pub(super) const DATA: &str = "/var/lib/wherry";
const CGROUP: &str = "/sys/fs/cgroup";

/// Why the data disk could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DataDiskError {
    /// No such device.
    #[error("the data disk {0} does not appear: the machine was started without it")]
    Missing(PathBuf),
    /// The device is there, its file system is not usable.
    #[error(
        "the data disk {device} cannot be mounted as ext4: {source}; its file system may be damaged"
    )]
    Mount {
        /// The block device.
        device: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The kernel mounted it read-only.
    #[error("the data disk {0} is read-only: the host's file is, or its file system is damaged")]
    ReadOnly(PathBuf),
}

/// Makes the root directory a mount of its own on top of the kernel's rootfs.
///
/// `pivot_root(2)`, which every container's start uses, refuses to move the
/// rootfs an initramfs is unpacked into, because nothing lies below it.
pub(super) fn leave_rootfs() -> nix::Result<()> {
    const NONE: Option<&str> = None;
    const STEP: &str = "/.root";
    let _ = fs::create_dir(STEP);
    mount(Some("/"), STEP, NONE, MsFlags::MS_BIND, NONE)?;
    nix::unistd::chdir(STEP)?;
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE)?;
    nix::unistd::chroot(".")?;
    nix::unistd::chdir("/")?;
    let _ = fs::remove_dir(STEP);
    Ok(())
}

/// Mounts what every Linux userland expects.
pub(super) fn kernel_file_systems() {
    let hidden = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let entries = [
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755"),
        ("proc", "/proc", hidden, ""),
        ("sysfs", "/sys", hidden, ""),
        (
            "devpts",
            "/dev/pts",
            MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            "gid=5,mode=0620,ptmxmode=0666",
        ),
        ("tmpfs", "/dev/shm", plain, "mode=1777"),
        ("mqueue", "/dev/mqueue", hidden, ""),
        ("tmpfs", "/run", plain, "mode=0755"),
        ("tmpfs", "/tmp", plain, "mode=1777"),
        ("cgroup2", CGROUP, hidden, "nsdelegate,memory_recursiveprot"),
    ];
    for (kind, target, flags, data) in entries {
        if let Err(error) = mount_at(kind, kind, Path::new(target), flags, data)
            && error.raw_os_error() != Some(libc::EBUSY)
        {
            say(&format!("init: cannot mount {kind} on {target}: {error}"));
        }
    }
    enable_controllers();
}

/// Passes every controller on to the cgroups below the root.
fn enable_controllers() {
    let controllers =
        fs::read_to_string(format!("{CGROUP}/cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_ascii_whitespace() {
        // One at a time: a controller that refuses takes no other with it.
        if let Err(error) = fs::write(
            format!("{CGROUP}/cgroup.subtree_control"),
            format!("+{controller}"),
        ) {
            say(&format!(
                "init: cannot enable the cgroup controller {controller}: {error}"
            ));
        }
    }
}

/// Makes the cgroup of `serve` and the shims, and returns its directory.
pub(super) fn cgroup() -> Option<PathBuf> {
    let path = PathBuf::from(format!("{CGROUP}/wherry"));
    match fs::create_dir_all(&path) {
        Ok(()) => Some(path),
        Err(error) => {
            say(&format!(
                "init: cannot make the cgroup {}: {error}",
                path.display()
            ));
            None
        }
    }
}

/// Mounts the data disk on [`DATA`].
pub(super) fn data_disk(device: &Path) -> Result<(), DataDiskError> {
    // Probing a virtio disk can end after init begins.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !device.exists() {
        if Instant::now() > deadline {
            return Err(DataDiskError::Missing(device.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // Neither nodev nor nosuid: devices and set-user-id files of images work in
    // containers through overlay mounts, and the runtime confines them.
    let flags = MsFlags::MS_NOATIME;
    let _ = fs::create_dir_all(DATA);
    mount(Some(device), DATA, Some("ext4"), flags, Some("discard")).map_err(|source| {
        if source == Errno::EROFS || source == Errno::EACCES {
            DataDiskError::ReadOnly(device.to_owned())
        } else {
            DataDiskError::Mount {
                device: device.to_owned(),
                source,
            }
        }
    })?;
    let read_only = nix::sys::statvfs::statvfs(DATA).is_ok_and(|status| {
        status
            .flags()
            .contains(nix::sys::statvfs::FsFlags::ST_RDONLY)
    });
    if read_only {
        return Err(DataDiskError::ReadOnly(device.to_owned()));
    }
    Ok(())
}

/// Mounts the host's shared folders. One that fails is named and left out.
pub(super) fn shares(shares: &[(String, PathBuf)]) {
    for (tag, path) in shares {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if let Err(error) = mount_at(tag, "virtiofs", path, flags, "") {
            say(&format!(
                "init: cannot mount the share {tag} on {}: {error}",
                path.display()
            ));
        }
    }
}

fn mount_at(source: &str, kind: &str, target: &Path, flags: MsFlags, data: &str) -> io::Result<()> {
    fs::create_dir_all(target)?;
    let data = (!data.is_empty()).then_some(data);
    mount(Some(source), target, Some(kind), flags, data).map_err(io::Error::from)
}
