//! Verifying the store: every blob has its digest, every layer its bytes, and
//! nothing lies about that no image has.

use std::collections::BTreeSet;
use std::fs;

use super::usage::layer_size;
use super::{Digest, Error, ImageRecord, Store};
use crate::check::Findings;

impl Store {
    /// Verifies images, blobs and layers. Reads every blob, and the metadata
    /// of every file of every layer.
    ///
    /// # Errors
    ///
    /// Where the store's directories cannot be read.
    pub(crate) fn check(&self, findings: &mut Findings) -> Result<(), Error> {
        let images = self.lock().clone();
        let mut layers = BTreeSet::new();
        for (id, record) in &images {
            for (kind, subject, problem) in self.problems(record, &mut layers) {
                // Unless it was removed while it was looked at.
                if self.lock().contains_key(id) {
                    let image = record
                        .names
                        .first()
                        .map_or_else(|| id.to_string(), Clone::clone);
                    let problem = format!(
                        "{problem} (of the image {image}): remove the image and get it again"
                    );
                    findings.damage(kind, subject, problem);
                }
            }
        }
        findings.response.images = images.len() as u32;
        findings.response.layers = layers.len() as u32;
        // With the lock, so that nothing just on its way into the catalogue counts.
        let images = self.lock();
        for path in self.unused(&images)? {
            let kind = if path.starts_with(self.layers()) {
                "layer"
            } else {
                "blob"
            };
            findings.debris(kind, path.display(), "no image has it", || {
                self.discard(&path)
            });
        }
        Ok(())
    }

    /// Returns what is wrong with an image: kind, subject and problem. `seen`
    /// are the layers that were looked at before.
    fn problems(
        &self,
        record: &ImageRecord,
        seen: &mut BTreeSet<Digest>,
    ) -> Vec<(&'static str, Digest, String)> {
        let mut problems = Vec::new();
        for digest in [record.id, record.manifest_digest] {
            match fs::read(self.blob(&digest)) {
                Ok(bytes) if Digest::of(&bytes) == digest => {}
                Ok(bytes) => problems.push((
                    "blob",
                    digest,
                    format!("its {} bytes have another digest", bytes.len()),
                )),
                Err(error) => {
                    problems.push(("blob", digest, format!("it cannot be read: {error}")))
                }
            }
        }
        for layer in &record.layers {
            if !seen.insert(layer.diff_id) {
                continue;
            }
            match layer_size(&self.layer(&layer.diff_id)) {
                Ok(size) if size == layer.size => {}
                Ok(size) => problems.push((
                    "layer",
                    layer.diff_id,
                    format!(
                        "its files have {size} bytes where {} were unpacked",
                        layer.size
                    ),
                )),
                Err(error) => problems.push((
                    "layer",
                    layer.diff_id,
                    format!("it cannot be read: {error}"),
                )),
            }
        }
        problems
    }

    /// Tells whether an image is there for the containers made of it.
    pub(crate) fn holds(&self, image_id: &str) -> bool {
        let digits = image_id.strip_prefix("sha256:").unwrap_or(image_id);
        Digest::from_hex(digits).is_some_and(|id| self.lock().contains_key(&id))
    }
}
