//! Names that images get after they are here.

use std::collections::BTreeSet;

use super::durable::replace_file;
use super::store::find;
use super::{Digest, Error, ImageRecord, Reference, Store};

impl Store {
    /// Gives an image another name; the image that had it loses it.
    pub(crate) fn tag(&self, image: &str, name: &str) -> Result<ImageRecord, Error> {
        let reference: Reference = name.parse()?;
        if reference.digest().is_some() {
            return Err(Error::InvalidReference {
                reference: name.to_owned(),
                reason: "refusing to create a tag with a digest reference",
            });
        }
        // Brings one in that is built in.
        self.inspect(image)?;
        let mut images = self.lock();
        let id = find(&images, image)?.0.id;
        let mut changed = images.clone();
        let name = reference.to_string();
        for (other, record) in &mut changed {
            record.names.retain(|known| *known != name);
            if *other == id {
                record.names.push(name.clone());
                record.names.sort();
            }
        }
        self.write_catalogue(&changed)?;
        *images = changed;
        images
            .get(&id)
            .cloned()
            .ok_or_else(|| Error::NotFound(image.to_owned()))
    }

    /// Notes that a registry has an image, by this manifest of it. From then on
    /// it stands for the image: it knows the layers as the registry does.
    pub(crate) fn record_push(
        &self,
        id: &Digest,
        canonical: &str,
        manifest: &[u8],
    ) -> Result<(), Error> {
        let digest = Digest::of(manifest);
        let path = self.blob(&digest);
        let mut images = self.lock();
        let mut changed = images.clone();
        let Some(record) = changed.get_mut(id) else {
            return Ok(());
        };
        if !path.exists() {
            replace_file(&path, manifest, &self.temporary())?;
        }
        record.manifest_digest = digest;
        let digests: BTreeSet<_> = record
            .digests
            .drain(..)
            .chain([canonical.to_owned()])
            .collect();
        record.digests = digests.into_iter().collect();
        self.write_catalogue(&changed)?;
        *images = changed;
        self.collect_garbage(&images)
    }
}
