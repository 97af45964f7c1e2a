//! Mounts of a container: what was asked for, and finding it without being
//! led astray.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, umount2};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use super::error::Error;

/// A mount of a container as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResolvedMount {
    pub(crate) source: MountSource,
    /// Absolute, in the container.
    pub(crate) target: String,
    pub(crate) read_only: bool,
    /// A new volume does not get what the image has at `target`.
    #[serde(default)]
    pub(crate) no_copy: bool,
    /// Mount options of a tmpfs.
    #[serde(default)]
    pub(crate) options: Vec<String>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MountSource {
    /// A file or folder of a share.
    Bind {
        /// Its path in the guest.
        path: PathBuf,
        /// Its path as the user wrote it.
        host: String,
    },
    /// A volume.
    Volume {
        /// Its name.
        name: String,
        /// Made for this container only, and removed with it.
        anonymous: bool,
        /// The path in it that is mounted; empty: all of it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        subpath: String,
    },
    /// Memory.
    Tmpfs,
    /// The socket of the engine's own API.
    EngineSocket {
        /// Its path on the host as the user wrote it.
        host: String,
    },
}

/// Opens a bind mount's source, which must lie below `share`, through no
/// symbolic link: the folder belongs to the user and to other containers, and
/// a link planted in it must not lead to the guest's own files. (The host has
/// resolved the links in what the user wrote.)
pub(super) fn open_bind_source(share: &Path, path: &Path, host: &str) -> Result<OwnedFd, Error> {
    let named = if host.is_empty() {
        path.display().to_string()
    } else {
        host.to_owned()
    };
    let wrong = |what: &str| {
        Error::Invalid(format!(
            "invalid mount config for type \"bind\": {what}: {named}"
        ))
    };
    let relative = path
        .strip_prefix(share)
        .map_err(|_| wrong("bind source path is not in a shared folder"))?;
    let relative = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, share, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|error| Error::path("opening", share, error))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let source =
        rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve).map_err(|error| {
            use rustix::io::Errno;
            match error {
                Errno::NOENT | Errno::NOTDIR => wrong("bind source path does not exist"),
                Errno::LOOP | Errno::XDEV => {
                    wrong("bind source path leads through a symbolic link")
                }
                error => Error::io(format!("opening {named}"), error),
            }
        })?;
    Ok(source)
}

/// Tells whether an opened path is a directory.
pub(super) fn is_directory(file: &OwnedFd) -> Result<bool, Error> {
    let status =
        rustix::fs::fstat(file).map_err(|error| Error::io("reading a mount's source", error))?;
    Ok(FileType::from_raw_mode(status.st_mode) == FileType::Directory)
}

/// Mounts an opened file or directory on `target`, which is made to fit. From
/// there the runtime takes it: what the path means later plays no part.
pub(super) fn pin(source: &OwnedFd, target: &Path) -> Result<(), Error> {
    const NONE: Option<&str> = None;
    let failed = |error: std::io::Error| Error::path("making", target, error);
    if is_directory(source)? {
        std::fs::create_dir_all(target).map_err(failed)?;
    } else {
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::File::create(target).map_err(failed)?;
    }
    let link = format!("/proc/self/fd/{}", source.as_raw_fd());
    nix::mount::mount(
        Some(link.as_str()),
        target,
        NONE,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NONE,
    )
    .map_err(|error| Error::path("mounting on", target, error))
}

/// Undoes every [`pin`] in a directory, and removes it.
pub(super) fn unpin_all(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        // A recursive bind can hold mounts of its own.
        let _ = umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        // Never recursively: were the mount still there, its content would go.
        if std::fs::remove_dir(&path).is_err() {
            let _ = std::fs::remove_file(&path);
        }
    }
    let _ = std::fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_source_is_found_below_its_share_only() {
        let share = tempfile::tempdir().unwrap();
        let share = share.path().canonicalize().unwrap();
        std::fs::create_dir(share.join("folder")).unwrap();
        std::fs::write(share.join("folder/file"), "").unwrap();
        symlink("/etc", share.join("link")).unwrap();
        symlink("folder", share.join("inner")).unwrap();
        let open = |path: &Path| open_bind_source(&share, path, "");
        assert!(is_directory(&open(&share.join("folder")).unwrap()).unwrap());
        assert!(is_directory(&open(&share).unwrap()).unwrap());
        assert!(!is_directory(&open(&share.join("folder/file")).unwrap()).unwrap());
        let fault = |path: &Path| open(path).unwrap_err().to_string();
        assert!(fault(&share.join("none")).contains("does not exist"));
        assert!(fault(&share.join("link/passwd")).contains("symbolic link"));
        assert!(fault(&share.join("link")).contains("symbolic link"));
        assert!(fault(&share.join("inner/file")).contains("symbolic link"));
        assert!(fault(Path::new("/etc/passwd")).contains("not in a shared folder"));
        assert!(open(&share.join("../etc")).is_err());
        assert!(open(&share.join("folder/../../etc")).is_err());
    }

    #[test]
    fn the_message_names_the_hosts_path() {
        let share = tempfile::tempdir().unwrap();
        let error =
            open_bind_source(share.path(), &share.path().join("x"), "/home/me/x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid mount config for type \"bind\": bind source path does not exist: /home/me/x"
        );
    }
}
