//! Layers on their way out: their streams made again, and what registries know
//! of them already.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::layer::{Assembly, tar_length};
use super::oci::{Descriptor, Manifest};
use super::{Digest, Error, ImageRecord, Reference, Store};

/// A layer's tar, byte for byte as it came. Its end is an error where it is not
/// what the diff id says.
pub(crate) struct LayerTar {
    assembly: Assembly,
    hash: Sha256,
    expected: Digest,
    /// Bytes in all.
    pub(crate) length: u64,
}

impl Read for LayerTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.assembly.read(buffer)?;
        self.hash.update(&buffer[..length]);
        if length == 0 && !buffer.is_empty() {
            let found = Digest::finish(self.hash.clone());
            if found != self.expected {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "the layer {} is damaged: remove the image and fetch it again",
                        self.expected
                    ),
                ));
            }
        }
        Ok(length)
    }
}

/// A packed form of a layer that some repositories of registries have.
#[derive(Clone, Debug)]
pub(crate) struct KnownLayer {
    pub(crate) descriptor: Descriptor,
    /// `docker.io/library/nginx`.
    pub(crate) repositories: Vec<String>,
}

impl Store {
    /// Makes the tar of a layer again.
    pub(crate) fn layer_tar(&self, diff_id: &Digest) -> Result<LayerTar, Error> {
        let (layer, skeleton) = (self.layer(diff_id), self.skeleton(diff_id));
        if !skeleton.is_dir() {
            return Err(Error::Damaged(format!(
                "the layer {diff_id} was unpacked by an older version, which did not keep what it takes to pack it: load or pull its image again"
            )));
        }
        let failed = |error| Error::path("reading", &layer, error);
        Ok(LayerTar {
            length: tar_length(&skeleton).map_err(failed)?,
            assembly: Assembly::open(&layer, &skeleton).map_err(failed)?,
            hash: Sha256::new(),
            expected: *diff_id,
        })
    }

    /// Returns the bytes of an image's configuration.
    pub(crate) fn configuration(&self, record: &ImageRecord) -> Result<Vec<u8>, Error> {
        self.read_blob(&record.id)
    }

    /// Returns the bytes of an image's manifest, and what is in it.
    pub(crate) fn manifest(&self, record: &ImageRecord) -> Result<(Vec<u8>, Manifest), Error> {
        let bytes = self.read_blob(&record.manifest_digest)?;
        let manifest = super::oci::parse("the image's manifest", &bytes)?;
        Ok((bytes, manifest))
    }

    fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.blob(digest);
        let bytes = std::fs::read(&path).map_err(|error| Error::path("reading", &path, error))?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(Error::Damaged(format!(
                "{} is not what its name says",
                path.display()
            )))
        }
    }

    /// Returns the packed forms in which registries have a layer, by the
    /// manifests of the images that came from there or went there.
    pub(crate) fn known_layers(&self, diff_id: &Digest) -> Vec<KnownLayer> {
        let of_layer: Vec<ImageRecord> = {
            let images = self.lock();
            let known = images.values().filter(|record| !record.digests.is_empty());
            known
                .filter(|record| record.layers.iter().any(|layer| layer.diff_id == *diff_id))
                .cloned()
                .collect()
        };
        let mut found: Vec<KnownLayer> = Vec::new();
        for record in of_layer {
            // Without its manifest a registry is only asked to take the layer anew.
            let Ok((_, manifest)) = self.manifest(&record) else {
                continue;
            };
            let pairs = record.layers.iter().zip(manifest.layers);
            let repositories = record.digests.iter().filter_map(|digest| {
                let reference = digest.parse::<Reference>().ok()?;
                Some(reference.repository())
            });
            let repositories: Vec<String> = repositories.collect();
            for (_, descriptor) in pairs.filter(|(layer, _)| layer.diff_id == *diff_id) {
                let same = |known: &&mut KnownLayer| known.descriptor.digest == descriptor.digest;
                if let Some(known) = found.iter_mut().find(same) {
                    known.repositories.extend(repositories.clone());
                } else {
                    found.push(KnownLayer {
                        descriptor,
                        repositories: repositories.clone(),
                    });
                }
            }
        }
        found
    }
}
