//! Volumes: directories that outlive containers.
//!
//! `volumes/NAME/_data` holds the files, `volumes/NAME/volume.json` the record.
//! A volume is made under another name and renamed, and removed the other way
//! round, so that under its name it is whole.

mod backing;
mod fill;
mod record;
mod service;
mod size;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use record::{ANONYMOUS, VolumeRecord};
pub(in crate::container) use service::{check_name, new_name};
pub(crate) use size::directory_size;

use super::error::Error;
use super::name;

/// The prefix of a directory that is half made or half removed. No volume's
/// name begins so.
pub(super) const UNFINISHED: &str = ".unfinished-";

/// The volumes of the data disk.
#[derive(Debug)]
pub(super) struct Volumes {
    directory: PathBuf,
    turn: Mutex<()>,
    /// Held while a volume is filled, which can take long.
    filling: Mutex<()>,
}

/// Held while volumes are made or removed, and until the container that a
/// volume is for is known to the others: so none is removed in between.
pub(super) type Turn<'a> = MutexGuard<'a, ()>;

impl Volumes {
    /// Opens the directory of all volumes, and clears away what was left half
    /// made.
    pub(super) fn open(directory: PathBuf) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::path("reading", &directory, error);
        fs::create_dir_all(&directory).map_err(failed)?;
        for entry in fs::read_dir(&directory).map_err(failed)?.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        Ok(Self {
            directory,
            turn: Mutex::default(),
            filling: Mutex::default(),
        })
    }

    /// Waits for the turn to make and remove volumes.
    pub(super) fn turn(&self) -> Turn<'_> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a volume's files are.
    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("_data")
    }

    /// Makes a volume where there is none of this name, and tells whether it
    /// did. With `durable` a power cut does not undo it.
    pub(super) fn ensure(
        &self,
        turn: &Turn<'_>,
        name: &str,
        labels: BTreeMap<String, String>,
        durable: bool,
    ) -> Result<bool, Error> {
        self.make(turn, &VolumeRecord::new(name, labels), durable)
    }

    /// As [`Self::ensure`], of a volume as described.
    fn make(&self, _turn: &Turn<'_>, record: &VolumeRecord, durable: bool) -> Result<bool, Error> {
        let name = record.name.as_str();
        let place = self.directory.join(name);
        let failed = |error: io::Error| Error::path("making the volume", &place, error);
        if self.data(name).is_dir() {
            return Ok(false);
        }
        let half_made = self.unfinished().map_err(failed)?;
        let made = (|| {
            fs::create_dir_all(half_made.join("_data"))?;
            record.save(&half_made, durable)?;
            fs::rename(&half_made, &place)
        })();
        made.map_err(|error| {
            let _ = fs::remove_dir_all(&half_made);
            failed(error)
        })?;
        if durable {
            self.sync()?;
        }
        Ok(true)
    }

    /// Finds a volume.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchVolume`], or when its record cannot be read.
    pub(super) fn find(&self, name: &str) -> Result<VolumeRecord, Error> {
        let missing = || Error::NoSuchVolume(name.to_owned());
        if !name::is_valid(name) {
            return Err(missing());
        }
        VolumeRecord::load(&self.directory.join(name), name)?.ok_or_else(missing)
    }

    /// Returns every volume by its name. One whose record cannot be read is
    /// told of in the log and left out.
    pub(super) fn all(&self) -> Result<Vec<VolumeRecord>, Error> {
        let failed = |error: io::Error| Error::path("reading", &self.directory, error);
        let mut volumes = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| name::is_valid(name)) else {
                continue;
            };
            match self.find(name) {
                Ok(volume) => volumes.push(volume),
                Err(Error::NoSuchVolume(_)) => {}
                Err(error) => tracing::error!(volume = name, "{}", super::chain(&error)),
            }
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Takes a volume out of sight, if it is there, and returns what is to be
    /// deleted of it. A power cut before the next [`Volumes::sync`] brings it back.
    pub(super) fn remove(&self, _turn: &Turn<'_>, name: &str) -> Result<Option<PathBuf>, Error> {
        let place = self.directory.join(name);
        let failed = |error: io::Error| Error::path("removing the volume", &place, error);
        let gone = self.unfinished().map_err(failed)?;
        self.unmount(name)?;
        match fs::rename(&place, &gone) {
            Ok(()) => Ok(Some(gone)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Waits until what was made and removed is on the disk.
    fn sync(&self) -> Result<(), Error> {
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| Error::path("syncing", &self.directory, error))
    }

    fn unfinished(&self) -> io::Result<PathBuf> {
        let id = name::new_id()?;
        Ok(self.directory.join(format!("{UNFINISHED}{}", &id[..16])))
    }
}

/// Deletes what [`Volumes::remove`] took out of sight. What cannot be deleted
/// now is tried again when the agent next starts.
pub(super) fn delete(gone: &Path) {
    if let Err(error) = fs::remove_dir_all(gone) {
        tracing::warn!("cannot delete {}: {error}", gone.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_comes_back_as_it_was_made() {
        let store = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(store.path().join("volumes")).unwrap();
        let turn = volumes.turn();
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert!(volumes.ensure(&turn, "data", labels.clone(), true).unwrap());
        assert!(
            !volumes
                .ensure(&turn, "data", BTreeMap::new(), true)
                .unwrap()
        );
        let volume = volumes.find("data").unwrap();
        assert_eq!((volume.name.as_str(), &volume.labels), ("data", &labels));
        assert_eq!(volumes.all().unwrap(), [volume]);
        let gone = volumes.remove(&turn, "data").unwrap().unwrap();
        assert!(volumes.all().unwrap().is_empty());
        assert!(volumes.remove(&turn, "data").unwrap().is_none());
        // As after a power cut in the middle of deleting.
        assert!(gone.exists());
        Volumes::open(store.path().join("volumes")).unwrap();
        assert!(!gone.exists());
    }

    #[test]
    fn a_volume_without_a_record_is_one_all_the_same() {
        let store = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(store.path().to_owned()).unwrap();
        fs::create_dir_all(volumes.data("older")).unwrap();
        let volume = volumes.find("older").unwrap();
        assert!(volume.created > 0 && volume.labels.is_empty());
        assert!(volumes.find("../older").is_err());
        assert!(volumes.find("none").is_err());
    }
}
