//! Owners, modes, attributes and times.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::root::{Refusal, path_of, refuse};
use super::tar_reader::{Entry, Kind};

/// Both times of an entry: archives of layers carry no time of access.
pub(super) fn times(entry: &Entry) -> Timestamps {
    let (seconds, nanoseconds) = entry.mtime;
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}

/// Sets everything on an open file or directory. The order matters: a change
/// of owner clears set-user-id and capabilities.
pub(super) fn apply_to_open(file: &OwnedFd, entry: &Entry) -> Result<(), Refusal> {
    let (uid, gid) = owner(entry);
    rustix::fs::fchown(file, uid, gid)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        check_name(name)?;
        tolerate(
            rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()),
            entry,
        )?;
    }
    if entry.kind != Kind::Directory {
        rustix::fs::futimens(file, &times(entry))?;
    }
    Ok(())
}

/// Sets everything on what `name` is in `directory`, which is no file. A
/// directory's times come last of all, as each new entry changes them.
pub(super) fn apply_to_name(
    directory: &OwnedFd,
    name: &[u8],
    entry: &Entry,
) -> Result<(), Refusal> {
    let (uid, gid) = owner(entry);
    rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    if entry.kind != Kind::Symlink {
        rustix::fs::chmodat(
            directory,
            name,
            Mode::from_raw_mode(entry.mode),
            AtFlags::empty(),
        )?;
    }
    for (attribute, value) in &entry.xattrs {
        check_name(attribute)?;
        let path = path_of(directory, name);
        tolerate(
            rustix::fs::lsetxattr(path, attribute.as_slice(), value, XattrFlags::empty()),
            entry,
        )?;
    }
    if entry.kind != Kind::Directory {
        rustix::fs::utimensat(directory, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// An image must not speak to overlayfs: a redirect would show it other
/// directories of the lower layers than its own.
fn check_name(name: &[u8]) -> Result<(), Refusal> {
    if name.starts_with(b"trusted.overlay.") {
        return refuse("it carries an attribute of overlayfs");
    }
    if name.contains(&0) {
        return refuse("the name of an attribute holds a zero byte");
    }
    Ok(())
}

/// The file system may lack a kind of attribute, and `user.` ones are only for
/// files and directories; Docker goes on too.
fn tolerate(result: Result<(), Errno>, entry: &Entry) -> Result<(), Errno> {
    match result {
        Err(Errno::NOTSUP) => Ok(()),
        Err(Errno::PERM) if !matches!(entry.kind, Kind::Regular | Kind::Directory) => Ok(()),
        other => other,
    }
}
