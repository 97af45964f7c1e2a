use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::durable::{create_private_directory, replace_file, sync_directory, sync_file_system};
use super::kept::Kept;
use super::layer::UnpackedLayer;
use super::{Digest, Error, ImageRecord, Reference};

/// The images of one engine. Shared between threads by reference.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    images: Mutex<Images>,
    /// Locked after `images`, where both are.
    pub(super) kept: Mutex<Kept>,
}

/// Every image there is, by id.
pub(super) type Images = BTreeMap<Digest, ImageRecord>;

/// The content of `images.json`.
#[derive(Serialize, Deserialize)]
struct Catalogue {
    version: u32,
    images: Vec<ImageRecord>,
}

const CATALOGUE_VERSION: u32 = 1;

/// An image whose blobs and layers are at hand, ready to enter the store.
pub(super) struct NewImage {
    pub(super) record: ImageRecord,
    pub(super) names: Vec<Reference>,
    /// What registries know it by.
    pub(super) digests: Vec<String>,
    /// The manifest and the configuration.
    pub(super) blobs: Vec<(Digest, Vec<u8>)>,
}

impl Store {
    /// Opens the store below `root`, making it where there is none, and clears
    /// away what a power cut or crash left half made.
    ///
    /// An image that lost a layer or its configuration is dropped with a
    /// warning, so that the rest stays usable.
    pub(crate) fn open(root: &Path) -> Result<Store, Error> {
        let store = Store {
            root: root.to_owned(),
            images: Mutex::default(),
            kept: Mutex::default(),
        };
        let directories = [
            store.blobs(),
            store.layers(),
            store.skeletons(),
            store.images_directory(),
        ];
        for directory in directories {
            create_private_directory(&directory)?;
        }
        remove_tree(&store.temporary())?;
        create_private_directory(&store.temporary())?;
        create_private_directory(&store.empty_layer())?;
        let mut images = store.read_catalogue()?;
        let before = images.len();
        images.retain(|id, record| match store.missing_part(record) {
            Some(part) => {
                tracing::warn!(image = %id, names = ?record.names, "the image is damaged and was removed: {part} is missing");
                false
            }
            None => true,
        });
        if images.len() != before {
            store.write_catalogue(&images)?;
        }
        store.read_kept();
        store.collect_garbage(&images)?;
        *store.lock() = images;
        Ok(store)
    }

    /// Returns every image, the newest first.
    pub(crate) fn list(&self) -> Vec<ImageRecord> {
        let mut images: Vec<_> = visible(&self.lock()).cloned().collect();
        images.sort_by(|a, b| {
            b.created_ns
                .cmp(&a.created_ns)
                .then_with(|| a.id.cmp(&b.id))
        });
        images
    }

    /// Finds an image by name, id or unambiguous id prefix. A name that is not
    /// here but belongs to a built-in image brings that one in first.
    pub(crate) fn inspect(&self, name: &str) -> Result<ImageRecord, Error> {
        match self.inspect_own(name) {
            Err(Error::NotFound(_)) if self.load_builtin(name)? => self.inspect_own(name),
            found => found,
        }
    }

    /// Finds an image as [`Store::inspect`], of those that are here already.
    pub(crate) fn inspect_own(&self, name: &str) -> Result<ImageRecord, Error> {
        find(&self.lock(), name).map(|(record, _)| record.clone())
    }

    /// Finds an image by its full id, also one that is removed and whose
    /// containers are still there.
    pub(super) fn by_id(&self, id: &str) -> Option<ImageRecord> {
        let digits = id.strip_prefix("sha256:").unwrap_or(id);
        Digest::from_hex(digits).and_then(|id| self.lock().get(&id).cloned())
    }

    /// Adds images and the layers they are made of. Layers that are here
    /// already are not replaced; names move from the images that had them.
    pub(super) fn commit(
        &self,
        images: Vec<NewImage>,
        layers: &[UnpackedLayer],
    ) -> Result<Vec<ImageRecord>, Error> {
        // Before the renames: a layer that has its name is whole.
        sync_file_system(&self.layers())?;
        let mut catalogue = self.lock();
        match self.place(&catalogue, images, layers) {
            Ok((changed, records)) => {
                *catalogue = changed;
                let has = |layer: &Digest| {
                    let mut layers = records.iter().flat_map(|record| &record.layers);
                    layers.any(|of_image| of_image.diff_id == *layer)
                };
                if let Err(error) = self.release_kept(has) {
                    tracing::warn!("layers may stay longer than their image: {error}");
                }
                Ok(records)
            }
            Err(error) => {
                // What found its place already belongs to no image.
                if let Err(second) = self.collect_garbage(&catalogue) {
                    tracing::warn!(
                        "the rest of a failed load stays until the next start: {second}"
                    );
                }
                Err(error)
            }
        }
    }

    /// Puts layers and blobs in their places and writes the catalogue that
    /// knows them; returns it and the records of the images.
    fn place(
        &self,
        catalogue: &Images,
        images: Vec<NewImage>,
        layers: &[UnpackedLayer],
    ) -> Result<(Images, Vec<ImageRecord>), Error> {
        for layer in layers {
            let place = self.layer(&layer.diff_id);
            if !place.exists() {
                layer.move_to(&place, &self.skeleton(&layer.diff_id))?;
            }
        }
        sync_directory(&self.skeletons())?;
        sync_directory(&self.layers())?;
        let mut changed = catalogue.clone();
        let mut added = Vec::new();
        for image in images {
            for (digest, bytes) in &image.blobs {
                let path = self.blob(digest);
                if !path.exists() {
                    replace_file(&path, bytes, &self.temporary())?;
                }
            }
            let id = image.record.id;
            let entry = changed.entry(id).or_insert(image.record);
            let mut names: BTreeSet<_> = entry.names.drain(..).collect();
            names.extend(image.names.iter().map(Reference::to_string));
            entry.names = names.iter().cloned().collect();
            entry.removed = false;
            let digests: BTreeSet<_> = entry.digests.drain(..).chain(image.digests).collect();
            entry.digests = digests.into_iter().collect();
            for (other, record) in &mut changed {
                if *other != id {
                    record.names.retain(|name| !names.contains(name));
                }
            }
            added.push(id);
        }
        self.write_catalogue(&changed)?;
        let records = added
            .iter()
            .filter_map(|id| changed.get(id).cloned())
            .collect();
        Ok((changed, records))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Images> {
        // The map is replaced whole, so a panic elsewhere leaves it consistent.
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing_part(&self, record: &ImageRecord) -> Option<String> {
        if !self.blob(&record.id).is_file() {
            return Some("its configuration".to_owned());
        }
        let lost = |layer: &&super::LayerRecord| !self.layer(&layer.diff_id).is_dir();
        record
            .layers
            .iter()
            .find(lost)
            .map(|layer| format!("its layer {}", layer.diff_id))
    }

    fn read_catalogue(&self) -> Result<Images, Error> {
        let path = self.catalogue_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Images::new()),
            Err(error) => return Err(Error::path("reading", &path, error)),
        };
        let catalogue: Catalogue = serde_json::from_slice(&bytes).map_err(|error| {
            Error::Damaged(format!("{} cannot be read: {error}", path.display()))
        })?;
        if catalogue.version != CATALOGUE_VERSION {
            return Err(Error::Damaged(format!(
                "{} has version {}, this program knows version {CATALOGUE_VERSION}",
                path.display(),
                catalogue.version
            )));
        }
        Ok(catalogue
            .images
            .into_iter()
            .map(|record| (record.id, record))
            .collect())
    }

    pub(super) fn write_catalogue(&self, images: &Images) -> Result<(), Error> {
        let catalogue = Catalogue {
            version: CATALOGUE_VERSION,
            images: images.values().cloned().collect(),
        };
        let bytes = serde_json::to_vec(&catalogue)
            .map_err(|error| Error::Damaged(format!("the catalogue cannot be written: {error}")))?;
        replace_file(&self.catalogue_path(), &bytes, &self.temporary())
    }

    /// Removes layers and blobs that no image uses. The caller holds the lock,
    /// or is alone.
    pub(super) fn collect_garbage(&self, images: &Images) -> Result<(), Error> {
        self.unused(images)?
            .iter()
            .try_for_each(|path| self.discard(path))
    }

    /// Returns the layers and blobs that no image uses.
    pub(super) fn unused(&self, images: &Images) -> Result<Vec<PathBuf>, Error> {
        let kept = self.kept();
        let layers: BTreeSet<_> = images
            .values()
            .flat_map(|record| record.layers.iter().map(|layer| layer.diff_id.hex()))
            .chain(kept.all().map(Digest::hex))
            .collect();
        drop(kept);
        let blobs: BTreeSet<_> = images
            .values()
            .flat_map(|record| [record.id.hex(), record.manifest_digest.hex()])
            .collect();
        let mut unused = Vec::new();
        for (directory, used) in [
            (self.layers(), &layers),
            (self.skeletons(), &layers),
            (self.blobs(), &blobs),
        ] {
            let failed = |error| Error::path("reading", &directory, error);
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                if !name.to_str().is_some_and(|name| used.contains(name)) {
                    unused.push(entry.path());
                }
            }
        }
        Ok(unused)
    }

    /// Removes a file or tree so that a crash in the middle leaves nothing
    /// under its old name.
    pub(super) fn discard(&self, path: &Path) -> Result<(), Error> {
        let failed = |error| Error::path("removing", path, error);
        let grave = tempfile::tempdir_in(self.temporary()).map_err(failed)?;
        fs::rename(path, grave.path().join("old")).map_err(failed)?;
        remove_tree(grave.path())
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(super) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }

    pub(super) fn skeletons(&self) -> PathBuf {
        self.root.join("skeletons")
    }

    /// What it takes to make a layer's stream again.
    pub(super) fn skeleton(&self, diff_id: &Digest) -> PathBuf {
        self.skeletons().join(diff_id.hex())
    }

    /// An empty directory, the lower one of an image without layers.
    pub(super) fn empty_layer(&self) -> PathBuf {
        self.images_directory().join("empty")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Where half-made things go; on the file system of everything else.
    pub(super) fn temporary(&self) -> PathBuf {
        self.images_directory().join("tmp")
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(super) fn images_directory(&self) -> PathBuf {
        self.root.join("images")
    }

    fn catalogue_path(&self) -> PathBuf {
        self.images_directory().join("images.json")
    }
}

/// Removes a tree, or nothing where there is none.
fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::path("removing", path, error))
        }
        _ => Ok(()),
    }
}

/// Finds an image, and the name it was found by if it was by name. As Docker
/// does, a full id comes first, then names, then prefixes of ids.
pub(super) fn find<'a>(
    images: &'a Images,
    name: &str,
) -> Result<(&'a ImageRecord, Option<String>), Error> {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let by_id = Digest::from_hex(digits).and_then(|id| images.get(&id));
    if let Some(record) = by_id.filter(|record| !record.removed) {
        return Ok((record, None));
    }
    let reference = name.parse::<Reference>();
    if let Ok(reference) = &reference {
        let by_name = |record: &&ImageRecord| match reference.digest() {
            Some(digest) => {
                let canonical = reference.canonical(&digest);
                record.digests.contains(&canonical)
                    || digest == record.manifest_digest
                        && record
                            .names
                            .iter()
                            .any(|name| same_repository(name, reference))
            }
            None => record.names.binary_search(&reference.to_string()).is_ok(),
        };
        if let Some(record) = visible(images).find(by_name) {
            return Ok((record, Some(reference.to_string())));
        }
    }
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let mut fitting = visible(images).filter(|record| record.id.hex().starts_with(digits));
        match (fitting.next(), fitting.next()) {
            (Some(record), None) => return Ok((record, None)),
            (Some(_), Some(_)) => return Err(Error::Ambiguous(name.to_owned())),
            (None, _) => {}
        }
    }
    match reference {
        Ok(reference) => Err(Error::NotFound(reference.familiar())),
        Err(_) if name.starts_with("sha256:") || Digest::from_hex(name).is_some() => {
            Err(Error::NotFound(name.to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// The images that are not removed.
fn visible(images: &Images) -> impl Iterator<Item = &ImageRecord> {
    images.values().filter(|record| !record.removed)
}

/// Tells whether a name is of a reference's repository.
pub(super) fn same_repository(name: &str, reference: &Reference) -> bool {
    name.parse::<Reference>()
        .is_ok_and(|other| other.domain() == reference.domain() && other.path() == reference.path())
}
