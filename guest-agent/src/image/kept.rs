//! Layers that belong to no image yet: those of pulls that go on, and those
//! that were whole when a pull was cut off, so that the next one begins there.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::durable::{replace_file, sync_directory, sync_file_system};
use super::layer::UnpackedLayer;
use super::{Digest, Error, LayerRecord, Store};

/// How long a pull that was cut off may be taken up again.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What no removal may take away although no image has it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By diff id; what `images/unfinished.json` holds.
    layers: BTreeMap<Digest, KeptLayer>,
    /// How many pulls count on a layer's being there.
    pins: HashMap<Digest, usize>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct KeptLayer {
    /// Bytes of the files in it.
    size: u64,
    /// Seconds since 1970.
    since: u64,
}

impl Kept {
    /// Tells whether a layer stays without an image.
    pub(super) fn holds(&self, diff_id: &Digest) -> bool {
        self.layers.contains_key(diff_id) || self.pins.contains_key(diff_id)
    }

    /// Returns the layers of no image and the bytes of their files.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.layers.iter().map(|(layer, kept)| (*layer, kept.size))
    }

    /// Returns every layer that stays without an image.
    pub(super) fn all(&self) -> impl Iterator<Item = &Digest> {
        self.layers.keys().chain(self.pins.keys())
    }
}

/// Keeps layers from being removed for as long as it lives.
pub(crate) struct Pins {
    store: Arc<Store>,
    layers: Vec<Digest>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut kept = self.store.kept();
        for layer in &self.layers {
            if let Some(count) = kept.pins.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    kept.pins.remove(layer);
                }
            }
        }
    }
}

impl Store {
    /// Keeps layers, there or still to come, until the guard is dropped.
    pub(crate) fn pin(self: &Arc<Self>, layers: Vec<Digest>) -> Pins {
        // The lock of the images first: a removal under way ends before.
        let images = self.lock();
        let mut kept = self.kept();
        for layer in &layers {
            *kept.pins.entry(*layer).or_default() += 1;
        }
        drop((kept, images));
        Pins {
            store: self.clone(),
            layers,
        }
    }

    /// Finds a layer that is here, an image's or a kept one.
    pub(crate) fn find_layer(&self, diff_id: &Digest) -> Option<LayerRecord> {
        let images = self.lock();
        let of_image = images
            .values()
            .flat_map(|record| &record.layers)
            .find(|layer| layer.diff_id == *diff_id)
            .cloned();
        of_image.or_else(|| {
            let kept = self.kept();
            let size = kept.layers.get(diff_id)?.size;
            self.layer(diff_id).is_dir().then_some(LayerRecord {
                diff_id: *diff_id,
                size,
            })
        })
    }

    /// Puts a layer in its place before there is an image of it.
    pub(super) fn keep_layer(&self, layer: &UnpackedLayer) -> Result<LayerRecord, Error> {
        sync_file_system(&self.layers())?;
        let images = self.lock();
        let mut kept = self.kept();
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let size = layer.size;
        let mut changed = kept.layers.clone();
        changed.insert(layer.diff_id, KeptLayer { size, since });
        // Recorded first: what is recorded and not there is no harm.
        self.write_kept(&changed)?;
        kept.layers = changed;
        let place = self.layer(&layer.diff_id);
        if !place.exists() {
            layer.move_to(&place, &self.skeleton(&layer.diff_id))?;
            sync_directory(&self.skeletons())?;
            sync_directory(&self.layers())?;
        }
        drop((kept, images));
        Ok(LayerRecord {
            diff_id: layer.diff_id,
            size,
        })
    }

    /// Removes kept layers that no image and no other pull wants.
    pub(crate) fn forget_layers(&self, layers: &[Digest]) -> Result<(), Error> {
        let images = self.lock();
        let pinned = |layer: &Digest| self.kept().pins.contains_key(layer);
        let unwanted: Vec<_> = layers.iter().filter(|layer| !pinned(layer)).collect();
        self.release_kept(|layer| unwanted.contains(&layer))?;
        self.collect_garbage(&images)
    }

    /// Forgets kept layers: an image has them now, or nobody wants them. The
    /// caller holds the lock of the images.
    pub(super) fn release_kept(&self, unwanted: impl Fn(&Digest) -> bool) -> Result<(), Error> {
        let mut kept = self.kept();
        let mut changed = kept.layers.clone();
        changed.retain(|diff_id, _| !unwanted(diff_id));
        if changed.len() != kept.layers.len() {
            self.write_kept(&changed)?;
            kept.layers = changed;
        }
        Ok(())
    }

    /// Reads what the last run kept; too old or unreadable is as nothing.
    pub(super) fn read_kept(&self) {
        let layers: BTreeMap<Digest, KeptLayer> = fs::read(self.kept_path())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let fresh = |layer: &KeptLayer| now.saturating_sub(layer.since) < PATIENCE.as_secs();
        self.kept().layers = layers
            .into_iter()
            .filter(|(_, layer)| fresh(layer))
            .collect();
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_kept(&self, layers: &BTreeMap<Digest, KeptLayer>) -> Result<(), Error> {
        let bytes = serde_json::to_vec(layers)
            .map_err(|error| Error::Damaged(format!("the kept layers: {error}")))?;
        replace_file(&self.kept_path(), &bytes, &self.temporary())
    }

    fn kept_path(&self) -> std::path::PathBuf {
        self.images_directory().join("unfinished.json")
    }
}
