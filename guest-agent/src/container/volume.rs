//! Volumes: directories that outlive containers, in `volumes/NAME/_data`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::copy::copy_directory;
use super::error::Error;

/// The volumes of the data disk.
#[derive(Debug)]
pub(super) struct Volumes {
    directory: PathBuf,
    /// Held while volumes are made, filled or removed.
    turn: Mutex<()>,
}

impl Volumes {
    /// Names the directory of all volumes.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            turn: Mutex::new(()),
        }
    }

    /// Where a volume's files are.
    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("_data")
    }

    /// Makes a volume where there is none of this name, and tells whether it did.
    pub(super) fn ensure(&self, name: &str) -> Result<bool, Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let data = self.data(name);
        if data.is_dir() {
            return Ok(false);
        }
        fs::create_dir_all(&data).map_err(|error| {
            let _ = fs::remove_dir(self.directory.join(name));
            Error::path("making the volume", &data, error)
        })?;
        Ok(true)
    }

    /// Fills an empty volume with what the image has at `target`, as Docker
    /// does on a volume's first use. All of it or nothing.
    pub(super) fn fill(&self, name: &str, root: &Path, target: &str) -> Result<(), Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
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
            // Replaces the empty directory.
            .and_then(|()| fs::rename(&half_made, &data));
        copied.map_err(|error| {
            let _ = fs::remove_dir_all(&half_made);
            failed(error)
        })
    }

    /// Removes a volume, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = self.directory.join(name);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::path("removing the volume", &directory, error))
            }
            _ => Ok(()),
        }
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

    #[test]
    fn an_empty_volume_is_filled_once() {
        let image = tempfile::tempdir().unwrap();
        let store = tempfile::tempdir().unwrap();
        fs::create_dir_all(image.path().join("var/data")).unwrap();
        fs::write(image.path().join("var/data/file"), "image").unwrap();
        let volumes = Volumes::new(store.path().join("volumes"));
        assert!(volumes.ensure("data").unwrap());
        assert!(!volumes.ensure("data").unwrap());
        volumes.fill("data", image.path(), "/var/data").unwrap();
        let file = volumes.data("data").join("file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "image");
        fs::write(&file, "changed").unwrap();
        volumes.fill("data", image.path(), "/var/data").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "changed");
        volumes.remove("data").unwrap();
        volumes.remove("data").unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn filling_stays_in_the_image() {
        let image = tempfile::tempdir().unwrap();
        let store = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", image.path().join("top")).unwrap();
        let volumes = Volumes::new(store.path().join("volumes"));
        volumes.ensure("data").unwrap();
        volumes.fill("data", image.path(), "/top/etc").unwrap();
        assert_eq!(fs::read_dir(volumes.data("data")).unwrap().count(), 0);
    }
}
