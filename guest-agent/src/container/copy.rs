//! Copies a directory's content with everything that it is: owners, modes,
//! times, links, devices, extended attributes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags,
};

/// Directories deeper than this are refused, so that the stack suffices.
const DEEPEST: usize = 512;

/// Copies what is in `source` into the empty directory `target`, and gives
/// `target` the source's owner, mode and times. Follows no symbolic link.
///
/// # Errors
///
/// The first failure; what was copied until then stays.
pub(super) fn copy_directory(source: &OwnedFd, target: &Path) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let source = rustix::fs::openat(source, ".", flags, Mode::empty())?;
    let target = rustix::fs::openat(CWD, target, flags, Mode::empty())?;
    let mut linked = HashMap::new();
    directory(&source, &target, Path::new(""), &mut linked, &target, 0)
}

/// Files with several names that were copied: where, below the top.
type Linked = HashMap<(u64, u64), PathBuf>;

fn directory(
    source: &OwnedFd,
    target: &OwnedFd,
    path: &Path,
    linked: &mut Linked,
    top: &OwnedFd,
    depth: usize,
) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other("directories are nested too deeply"));
    }
    for entry in Dir::read_from(source)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let status = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(status.st_mode);
        let below = {
            use std::os::unix::ffi::OsStrExt;
            path.join(std::ffi::OsStr::from_bytes(name.to_bytes()))
        };
        if kind != FileType::Directory && status.st_nlink > 1 {
            let identity = (status.st_dev, status.st_ino);
            if let Some(first) = linked.get(&identity) {
                rustix::fs::linkat(top, first, target, name, AtFlags::empty())?;
                continue;
            }
            linked.insert(identity, below.clone());
        }
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(target, name, Mode::RWXU)?;
                let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let source = rustix::fs::openat(source, name, flags, Mode::empty())?;
                let target = rustix::fs::openat(target, name, flags, Mode::empty())?;
                directory(&source, &target, &below, linked, top, depth + 1)?;
            }
            FileType::RegularFile => {
                let read = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let source = rustix::fs::openat(source, name, read, Mode::empty())?;
                let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let target = rustix::fs::openat(target, name, write, Mode::RUSR | Mode::WUSR)?;
                let (mut source, mut target) = (File::from(source), File::from(target));
                io::copy(&mut source, &mut target)?;
                attributes(&source, &target, &status)?;
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(source, name, Vec::new())?;
                rustix::fs::symlinkat(link, target, name)?;
                owner_and_times(target, name, &status)?;
            }
            FileType::Unknown => {}
            special => {
                rustix::fs::mknodat(
                    target,
                    name,
                    special,
                    Mode::from_raw_mode(status.st_mode),
                    status.st_rdev,
                )?;
                owner_and_times(target, name, &status)?;
                rustix::fs::chmodat(
                    target,
                    name,
                    Mode::from_raw_mode(status.st_mode),
                    AtFlags::empty(),
                )?;
            }
        }
    }
    let status = rustix::fs::fstat(source)?;
    attributes(source, target, &status)
}

/// Owner first: changing it clears the set-user-id bit.
fn attributes(source: impl AsFd, target: impl AsFd, status: &Stat) -> io::Result<()> {
    owner(status, |uid, gid| rustix::fs::fchown(&target, uid, gid))?;
    rustix::fs::fchmod(&target, Mode::from_raw_mode(status.st_mode))?;
    let mut names = vec![0_u8; 64 * 1024];
    let length = rustix::fs::flistxattr(&source, names.as_mut_slice()).unwrap_or(0);
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        // The overlay's own marks mean nothing elsewhere.
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let length = rustix::fs::fgetxattr(&source, name, value.as_mut_slice())?;
        rustix::fs::fsetxattr(&target, name, &value[..length], XattrFlags::empty())?;
    }
    rustix::fs::futimens(&target, &times(status)).map_err(io::Error::from)
}

fn owner_and_times(target: &OwnedFd, name: &std::ffi::CStr, status: &Stat) -> io::Result<()> {
    owner(status, |uid, gid| {
        rustix::fs::chownat(target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    })?;
    rustix::fs::utimensat(target, name, &times(status), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(io::Error::from)
}

fn owner(
    status: &Stat,
    change: impl FnOnce(Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) -> rustix::io::Result<()>,
) -> io::Result<()> {
    let uid = rustix::fs::Uid::from_raw(status.st_uid);
    let gid = rustix::fs::Gid::from_raw(status.st_gid);
    change(Some(uid), Some(gid)).map_err(io::Error::from)
}

fn times(status: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: status.st_atime as _,
            tv_nsec: status.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: status.st_mtime as _,
            tv_nsec: status.st_mtime_nsec as _,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_copy_is_the_same_tree() {
        let source = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        let from = source.path();
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::write(from.join("a/b/file"), "content").unwrap();
        std::fs::hard_link(from.join("a/b/file"), from.join("again")).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        std::fs::set_permissions(from.join("a"), std::fs::Permissions::from_mode(0o1751)).unwrap();
        let opened = File::open(from).unwrap().into();
        copy_directory(&opened, target.path()).unwrap();
        let to = target.path();
        assert_eq!(std::fs::read(to.join("a/b/file")).unwrap(), b"content");
        assert_eq!(
            std::fs::read_link(to.join("link")).unwrap(),
            Path::new("/etc/passwd")
        );
        assert_eq!(
            std::fs::metadata(to.join("a")).unwrap().mode() & 0o7777,
            0o1751
        );
        let (one, other) = (
            std::fs::metadata(to.join("a/b/file")).unwrap(),
            std::fs::metadata(to.join("again")).unwrap(),
        );
        assert_eq!(one.ino(), other.ino());
        assert_eq!(
            one.mtime_nsec(),
            std::fs::metadata(from.join("again")).unwrap().mtime_nsec()
        );
    }
}
