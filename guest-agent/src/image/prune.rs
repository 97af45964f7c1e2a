//! Removing what nobody uses.

use super::remove::Removal;
use super::{Dependent, Digest, Error, ImageRecord, Store};

/// What a prune removed.
#[derive(Default)]
pub(crate) struct Pruned {
    pub(crate) removed: Vec<Removal>,
    /// Bytes of the files that are gone.
    pub(crate) reclaimed: u64,
}

impl Store {
    /// Removes the images that `wanted` takes, that no container uses, and that
    /// have no name or, with `all`, that have one; and what pulls that were cut
    /// off left. `in_use` is as for [`Store::remove`].
    pub(crate) fn prune(
        &self,
        all: bool,
        wanted: &dyn Fn(&ImageRecord) -> bool,
        in_use: &dyn Fn(&str) -> Vec<Dependent>,
    ) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        let before = self.layer_sizes();
        for record in self.list() {
            let id = record.id();
            let dangling = record.names.is_empty();
            if !(dangling || all) || !wanted(&record) || !in_use(&id).is_empty() {
                continue;
            }
            match self.remove(&id, true, in_use) {
                Ok(removal) => pruned.removed.push(removal),
                // Gone or taken in the meantime.
                Err(Error::NotFound(_) | Error::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let kept: Vec<Digest> = self.kept().all().copied().collect();
        self.forget_layers(&kept)?;
        let after = self.layer_sizes();
        let gone = before.iter().filter(|(id, _)| !after.contains_key(*id));
        pruned.reclaimed = gone.map(|(_, size)| size).sum();
        Ok(pruned)
    }

    fn layer_sizes(&self) -> std::collections::BTreeMap<Digest, u64> {
        let images = self.lock();
        let of_images = images
            .values()
            .flat_map(|record| &record.layers)
            .map(|layer| (layer.diff_id, layer.size));
        let kept = self.kept();
        kept.sizes().chain(of_images).collect()
    }
}
