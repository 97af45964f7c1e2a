use std::fs;
use std::path::PathBuf;
use std::sync::MutexGuard;

use super::durable::sync_directory;
use super::store::{Images, find, same_repository};
use super::{Digest, Error, ImageRecord, Reference, Store};

/// What a removal did, in the form Docker answers with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Removal {
    /// The image as it was.
    pub(crate) image: ImageRecord,
    /// The names that are gone, those by digests too.
    pub(crate) untagged: Vec<String>,
    /// The images and layers that are gone.
    pub(crate) deleted: Vec<String>,
}

/// A container made from an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependent {
    /// Its name.
    pub(crate) container: String,
    /// Its process runs.
    pub(crate) running: bool,
}

impl Store {
    /// Removes a name, and the image with its last name, by Docker's rules
    /// (moby, daemon/images/image_delete.go):
    ///
    /// - by name: the name goes, and with the last one the image. The digests of a
    ///   repository go with its last name, and are names themselves. The last name
    ///   of an image that a container uses needs `force`; while the container
    ///   runs, the image stays without a name even so;
    /// - by id: the image with its name. Several names need `force`, and so
    ///   does a stopped container; a running one is not overruled.
    ///
    /// The layers stay as long as a container is made of them.
    ///
    /// `in_use` tells the containers made from an image id. It is called with
    /// the store locked, so that no image goes while a container is being made
    /// of it: it must not call the store, and containers must be registered
    /// before [`Store::prepare_root`].
    pub(crate) fn remove(
        &self,
        name: &str,
        force: bool,
        in_use: &dyn Fn(&str) -> Vec<Dependent>,
    ) -> Result<Removal, Error> {
        let images = self.lock();
        let (record, by_name) = find(&images, name)?;
        let (id, names) = (record.id, record.names.clone());
        let users = in_use(&id.to_string());
        let running = users.iter().find(|user| user.running);
        let mut removal = Removal {
            image: record.clone(),
            untagged: Vec::new(),
            deleted: Vec::new(),
        };
        let whole = match by_name {
            Some(by_name) => {
                removal.untagged = untagged(record, &by_name);
                let known = names.iter().chain(&record.digests);
                let last = known.clone().all(|name| removal.untagged.contains(name));
                if let (false, true, Some(user)) = (force, last, users.first()) {
                    return Err(Error::Conflict(format!(
                        "unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {}",
                        user.container,
                        id.short()
                    )));
                }
                last && running.is_none()
            }
            None => {
                if let Some(reason) = conflict(&names, &users, force) {
                    return Err(Error::Conflict(format!(
                        "unable to delete {} {reason}",
                        id.short()
                    )));
                }
                removal.untagged = names.iter().chain(&record.digests).cloned().collect();
                true
            }
        };
        let mut changed = images.clone();
        if let Some(record) = changed.get_mut(&id) {
            let stays = |name: &String| !removal.untagged.contains(name);
            record.names.retain(stays);
            record.digests.retain(stays);
            record.removed = whole;
        }
        if whole {
            removal.deleted.push(id.to_string());
            if users.is_empty() {
                changed.remove(&id);
            }
        }
        let layers = self.shrink(images, changed)?;
        removal.deleted.extend(layers.iter().map(Digest::to_string));
        Ok(removal)
    }

    /// Lets go of the removed images that the last container was made of.
    /// `in_use` is as for [`Store::remove`].
    pub(crate) fn release(&self, in_use: &dyn Fn(&str) -> Vec<Dependent>) -> Result<(), Error> {
        let images = self.lock();
        let mut changed = images.clone();
        changed.retain(|id, record| !record.removed || !in_use(&id.to_string()).is_empty());
        if changed.len() == images.len() {
            return Ok(());
        }
        self.shrink(images, changed).map(drop)
    }

    /// Writes a catalogue that has lost images, and deletes the layers that no
    /// image has any more; returns them, the topmost first.
    fn shrink(
        &self,
        mut images: MutexGuard<'_, Images>,
        changed: Images,
    ) -> Result<Vec<Digest>, Error> {
        self.write_catalogue(&changed)?;
        let mut unused = Vec::new();
        let gone = images.values().filter(|old| !changed.contains_key(&old.id));
        for layer in gone.flat_map(|record| record.layers.iter().rev()) {
            let shared = changed.values().any(|other| other.layers.contains(layer));
            let kept = self.kept().holds(&layer.diff_id);
            if !shared && !kept && !unused.contains(&layer.diff_id) {
                unused.push(layer.diff_id);
            }
        }
        *images = changed;
        // The record is gone: from here on a failure leaves only what the next
        // open clears away.
        let graves = self.bury(&unused)?;
        self.collect_garbage(&images)?;
        drop(images);
        for grave in graves {
            fs::remove_dir_all(&grave).map_err(|error| Error::path("removing", &grave, error))?;
        }
        Ok(unused)
    }

    /// Moves layers out of their places, so that a removal broken off leaves
    /// none half there, and the slow part needs no lock.
    fn bury(&self, layers: &[Digest]) -> Result<Vec<PathBuf>, Error> {
        let mut graves = Vec::new();
        for layer in layers {
            let place = self.layer(layer);
            let failed = |error| Error::path("removing", &place, error);
            let grave = tempfile::tempdir_in(self.temporary())
                .map_err(failed)?
                .keep();
            fs::rename(&place, grave.join("old")).map_err(failed)?;
            graves.push(grave);
        }
        if !layers.is_empty() {
            sync_directory(&self.layers())?;
        }
        Ok(graves)
    }
}

/// Returns the names that go with one that an image was found by: a repository's last
/// one takes its digests along. A digest that no registry told stands for the names of
/// its repository.
fn untagged(record: &ImageRecord, name: &str) -> Vec<String> {
    let Ok(reference) = name.parse::<Reference>() else {
        return vec![name.to_owned()];
    };
    let of_repository = |names: &[String]| -> Vec<String> {
        let names = names.iter();
        names
            .filter(|name| same_repository(name, &reference))
            .cloned()
            .collect()
    };
    let names = of_repository(&record.names);
    let mut untagged = match reference.digest() {
        Some(digest) => {
            let canonical = reference.canonical(&digest);
            if record.digests.contains(&canonical) {
                return vec![canonical];
            }
            names
        }
        None if names.len() > 1 => return vec![name.to_owned()],
        None => vec![name.to_owned()],
    };
    untagged.extend(of_repository(&record.digests));
    untagged
}

/// What keeps an image from being removed by its id.
fn conflict(names: &[String], users: &[Dependent], force: bool) -> Option<String> {
    if let Some(user) = users.iter().find(|user| user.running) {
        return Some(format!(
            "(cannot be forced) - image is being used by running container {}",
            user.container
        ));
    }
    if force {
        return None;
    }
    if names.len() > 1 {
        return Some("(must be forced) - image is referenced in multiple repositories".to_owned());
    }
    users.first().map(|user| {
        format!(
            "(must be forced) - image is being used by stopped container {}",
            user.container
        )
    })
}
