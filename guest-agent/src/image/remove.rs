use std::fs;
use std::path::PathBuf;

use super::durable::sync_directory;
use super::store::find;
use super::{Digest, Error, Store};

/// What a removal did, in the form Docker answers with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removal {
    /// The names that are gone.
    pub(crate) untagged: Vec<String>,
    /// The images and layers that are gone.
    pub(crate) deleted: Vec<String>,
}

impl Store {
    /// Removes a name, and the image with its last name, by Docker's rules:
    ///
    /// - by name: the name goes; the image only if it was its last one;
    /// - by id: the image with its name; several names need `force`;
    /// - an image that a container uses stays unless `force`, and even then
    ///   only loses its names: its layers are below the container.
    ///
    /// `in_use` tells the names of the containers made from an image id. It is
    /// called with the store locked, so that no image goes while a container
    /// is being made of it: it must not call the store, and containers must be
    /// registered before [`Store::prepare_root`].
    pub(crate) fn remove(
        &self,
        name: &str,
        force: bool,
        in_use: &dyn Fn(&str) -> Vec<String>,
    ) -> Result<Removal, Error> {
        let mut images = self.lock();
        let (record, by_name) = find(&images, name)?;
        let (id, names) = (record.id, record.names.clone());
        let mut removal = Removal::default();
        let mut changed = images.clone();
        let users = in_use(&id.to_string());
        let short = id.short();
        match by_name.filter(|by_name| names.contains(by_name)) {
            Some(by_name) => {
                if let (false, 1, Some(user)) = (force, names.len(), users.first()) {
                    return Err(Error::Conflict(format!(
                        "unable to remove repository reference \"{name}\" (must force) - container {user} is using its referenced image {short}"
                    )));
                }
                removal.untagged.push(by_name);
            }
            None => {
                if names.len() > 1 && !force {
                    return Err(Error::Conflict(format!(
                        "unable to delete {short} (must be forced) - image is referenced in multiple repositories"
                    )));
                }
                if let (Some(user), true) = (users.first(), !force || names.is_empty()) {
                    let how = if force {
                        "cannot be forced"
                    } else {
                        "must be forced"
                    };
                    return Err(Error::Conflict(format!(
                        "unable to delete {short} ({how}) - image is being used by container {user}"
                    )));
                }
                removal.untagged.clone_from(&names);
            }
        }
        if let Some(record) = changed.get_mut(&id) {
            record.names.retain(|name| !removal.untagged.contains(name));
            if record.names.is_empty() && users.is_empty() {
                changed.remove(&id);
                removal.deleted.push(id.to_string());
            }
        }
        self.write_catalogue(&changed)?;
        let mut unused = Vec::new();
        if let (false, Some(record)) = (changed.contains_key(&id), images.get(&id)) {
            for layer in record.layers.iter().rev() {
                let shared = changed.values().any(|other| other.layers.contains(layer));
                let listed = unused.contains(&layer.diff_id);
                if !shared && !listed {
                    unused.push(layer.diff_id);
                }
            }
        }
        *images = changed;
        // The record is gone: from here on a failure leaves only what the next
        // open clears away.
        let graves = self.bury(&unused)?;
        removal.deleted.extend(unused.iter().map(Digest::to_string));
        self.collect_garbage(&images)?;
        drop(images);
        for grave in graves {
            fs::remove_dir_all(&grave).map_err(|error| Error::path("removing", &grave, error))?;
        }
        Ok(removal)
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
