//! A volume's first use: what the image has at its mount point goes into it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::PoisonError;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::Volumes;
use crate::container::copy::copy_directory;
use crate::container::error::Error;

impl Volumes {
    /// Fills an empty volume with what the image has at `target`, as Docker
    /// does on a volume's first use. All of it or nothing; with `durable` also
    /// after a power cut.
    pub(in crate::container) fn fill(
        &self,
        name: &str,
        root: &Path,
        target: &str,
        durable: bool,
    ) -> Result<(), Error> {
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let data = self.data(name);
        let failed = |error: io::Error| Error::path("filling the volume", &data, error);
        if fs::read_dir(&data).map_err(failed)?.next().is_some() {
            return Ok(());
        }
        let Some(source) = directory_in_image(root, target).map_err(failed)? else {
            return Ok(());
        };
        let half_made = self.directory.join(name).join(".filling");
        let _ = fs::remove_dir_all(&half_made);
        let copied = fs::create_dir(&half_made)
            .and_then(|()| copy_directory(&source, &half_made))
            .and_then(|()| match durable {
                true => Ok(rustix::fs::syncfs(fs::File::open(&half_made)?)?),
                false => Ok(()),
            })
            // Replaces the empty directory.
            .and_then(|()| fs::rename(&half_made, &data));
        copied.map_err(|error| {
            let _ = fs::remove_dir_all(&half_made);
            failed(error)
        })
    }
}

/// Opens a directory of an image, its links taken within the image; `None`
/// where the image has no directory there.
fn directory_in_image(root: &Path, target: &str) -> io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&root, target, flags, Mode::empty(), resolve) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn volumes(store: &Path) -> Volumes {
        let volumes = Volumes::open(store.join("volumes")).unwrap();
        volumes
            .ensure(&volumes.turn(), "data", BTreeMap::new(), false)
            .unwrap();
        volumes
    }

    #[test]
    fn an_empty_volume_is_filled_once() {
        let image = tempfile::tempdir().unwrap();
        let store = tempfile::tempdir().unwrap();
        fs::create_dir_all(image.path().join("var/data")).unwrap();
        fs::write(image.path().join("var/data/file"), "image").unwrap();
        let volumes = volumes(store.path());
        let fill = || volumes.fill("data", image.path(), "/var/data", true);
        fill().unwrap();
        let file = volumes.data("data").join("file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "image");
        fs::write(&file, "changed").unwrap();
        fill().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "changed");
    }

    #[test]
    fn filling_stays_in_the_image() {
        let image = tempfile::tempdir().unwrap();
        let store = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", image.path().join("top")).unwrap();
        let volumes = volumes(store.path());
        volumes
            .fill("data", image.path(), "/top/etc", false)
            .unwrap();
        assert_eq!(fs::read_dir(volumes.data("data")).unwrap().count(), 0);
    }
}
