//! The working directory, which Docker makes where the image lacks it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

/// Makes `path` and what is missing above it below `root`, without leaving it
/// through any symbolic link.
pub(super) fn create(root: &Path, path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty())?;
    if open_in(&root, path).is_ok() {
        return Ok(());
    }
    let mut reached = PathBuf::from("/");
    for component in path.components() {
        let Component::Normal(name) = component else {
            continue;
        };
        let parent = open_in(&root, &reached)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        reached.push(name);
    }
    Ok(())
}

fn open_in(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat2(
        root,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_root_does_not_lead_out() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("../..", root.join("out")).unwrap();
        create(&root, Path::new("/out/made/here")).unwrap();
        assert!(root.join("made/here").is_dir());
    }
}
