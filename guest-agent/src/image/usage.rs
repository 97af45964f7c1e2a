//! How much space images take.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{ImageRecord, Store};

/// An image's share of the store.
pub(crate) struct ImageSize {
    /// The image.
    pub(crate) record: ImageRecord,
    /// Bytes of the layers that no other image has.
    pub(crate) unique: u64,
}

impl Store {
    /// Returns the bytes of the files of an image, by its full id.
    pub(crate) fn size_of(&self, id: &str) -> Option<u64> {
        self.by_id(id).map(|record| record.size())
    }

    /// Returns every image with what is its own, and the bytes of all layers,
    /// each counted once.
    pub(crate) fn sizes(&self) -> (Vec<ImageSize>, u64) {
        let mut layers = BTreeMap::new();
        let images = self.lock();
        for record in images.values() {
            let mut own = HashSet::new();
            for layer in record
                .layers
                .iter()
                .filter(|layer| own.insert(layer.diff_id))
            {
                layers.entry(layer.diff_id).or_insert((layer.size, 0)).1 += 1;
            }
        }
        drop(images);
        let total = layers.values().map(|(size, _)| size).sum();
        let unique = |record: &ImageRecord| {
            let mut own = HashSet::new();
            let layer = |id| layers.get(id).filter(|(_, users)| *users == 1);
            let mine = record
                .layers
                .iter()
                .filter(|layer| own.insert(layer.diff_id));
            mine.filter_map(|mine| layer(&mine.diff_id))
                .map(|(size, _)| size)
                .sum()
        };
        let sizes = self.list().into_iter().map(|record| ImageSize {
            unique: unique(&record),
            record,
        });
        (sizes.collect(), total)
    }
}

/// Returns the bytes of the regular files of an unpacked layer, a file of
/// several names counted once.
///
/// # Errors
///
/// The first directory or file that cannot be read.
pub(super) fn layer_size(directory: &Path) -> io::Result<u64> {
    let mut seen = HashSet::new();
    let mut pending = vec![directory.to_owned()];
    let mut size = 0;
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if metadata.is_file()
                && (metadata.nlink() < 2 || seen.insert((metadata.dev(), metadata.ino())))
            {
                size += metadata.len();
            }
        }
    }
    Ok(size)
}
