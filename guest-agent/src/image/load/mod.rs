//! Loading archives: Docker's (`docker save`) and OCI layouts, in one pass and
//! whatever the order of their members.
//!
//! The members that look like layers are unpacked as they come by, before it
//! is known what they are for: nothing is written twice. What no image of the
//! archive turns out to use is removed again.

mod archive;
pub(super) mod docker;
mod layout;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};

use archive::Archive;
pub(super) use archive::check_diff_ids;

use super::layer::{UnpackedLayer, unpacked};
use super::store::NewImage;
use super::{Error, ImageRecord, Progress, Store};

impl Store {
    /// Loads every image of an archive, itself packed or not, that has a
    /// variant for this machine. All or nothing: a failure leaves no trace.
    pub(crate) fn load(
        &self,
        reader: impl Read,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<ImageRecord>, Error> {
        let broken = |error| Error::InvalidArchive(format!("it cannot be read: {error}"));
        let mut reader = BufReader::new(reader);
        if reader.fill_buf().map_err(broken)?.is_empty() {
            return Err(Error::InvalidArchive("it is empty".to_owned()));
        }
        let decoder = unpacked(reader).map_err(broken)?;
        let mut archive = Archive::read(
            BufReader::with_capacity(256 * 1024, decoder),
            &self.temporary(),
            progress,
        )?;
        let images = images(&archive)?;
        let used: Vec<_> = images
            .iter()
            .flat_map(|image| image.record.layers.iter().map(|layer| layer.diff_id))
            .collect();
        let layers: Vec<UnpackedLayer> = archive
            .take_layers()
            .into_iter()
            .filter(|layer| used.contains(&layer.diff_id))
            .collect();
        drop(archive);
        let records = self.commit(images, &layers)?;
        progress(Progress {
            stage: "done".to_owned(),
            ..Progress::default()
        });
        Ok(records)
    }
}

/// An OCI layout carries digests, so where an archive is both, as Docker's
/// newer ones are, it is read as a layout.
fn images(archive: &Archive) -> Result<Vec<NewImage>, Error> {
    let mut images = match archive.json("index.json")? {
        Some(index) => layout::images(archive, index)?,
        None => Vec::new(),
    };
    match archive.json("manifest.json")? {
        Some(manifest) => docker::add_images(archive, manifest, &mut images)?,
        None if images.is_empty() => {
            return Err(Error::InvalidArchive(
                "it has neither an index.json nor a manifest.json, so it is no image; for the tar of a root file system use import".to_owned(),
            ));
        }
        None => {}
    }
    if images.is_empty() {
        return Err(Error::InvalidArchive("it names no image".to_owned()));
    }
    Ok(images)
}
