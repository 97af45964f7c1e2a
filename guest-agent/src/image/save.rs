//! Saving images as an archive that is both an OCI layout and Docker's own
//! form, as `docker save` writes it.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use serde_json::json;

use super::oci::{CONFIG, Descriptor, LAYER, MANIFEST, Manifest};
use super::{Digest, Error, ImageRecord, Reference, Store};

/// An image to save, and the names that it is saved under.
struct Wanted {
    record: ImageRecord,
    names: Vec<Reference>,
}

/// An archive that is being written. All times in it are the same, so that an
/// image saved twice gives the same bytes.
struct Archive<W: Write> {
    tar: tar::Builder<W>,
    blobs: BTreeSet<Digest>,
}

impl Store {
    /// Finds the images to save by names or ids, so that a wrong name is an
    /// error before anything is written. A name without a tag means all its tags.
    pub(crate) fn find_to_save(&self, names: &[String]) -> Result<Saving, Error> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for name in names {
            for (record, reference) in self.named(name)? {
                let known = wanted.iter_mut().find(|known| known.record.id == record.id);
                match known {
                    Some(known) => known.names.extend(reference),
                    None => wanted.push(Wanted {
                        record,
                        names: reference.into_iter().collect(),
                    }),
                }
            }
        }
        for image in &mut wanted {
            image.names.sort_by_key(Reference::to_string);
            image.names.dedup();
        }
        Ok(Saving(wanted))
    }

    fn named(&self, name: &str) -> Result<Vec<(ImageRecord, Option<Reference>)>, Error> {
        let last = name.rsplit('/').next().unwrap_or(name);
        if !last.contains([':', '@'])
            && let Ok(reference) = name.parse::<Reference>()
        {
            let prefix = format!("{}:", reference.repository());
            let mut found = Vec::new();
            for record in self.list() {
                for of_image in record.names.iter().filter(|name| name.starts_with(&prefix)) {
                    found.push((record.clone(), of_image.parse().ok()));
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let record = self.inspect(name)?;
        let reference = name.parse::<Reference>().ok();
        let is_name = |reference: &Reference| record.names.contains(&reference.to_string());
        let reference = reference.filter(is_name);
        Ok(vec![(record, reference)])
    }

    /// Writes an archive of images.
    pub(crate) fn save(&self, saving: &Saving, target: impl Write) -> Result<(), Error> {
        let mut archive = Archive {
            tar: tar::Builder::new(target),
            blobs: BTreeSet::new(),
        };
        let (mut index, mut docker) = (Vec::new(), Vec::new());
        for image in &saving.0 {
            let manifest = archive.image(self, &image.record)?;
            let digest = Digest::of(&manifest);
            archive.blob(digest, &manifest)?;
            let entry = json!({
                "mediaType": MANIFEST, "digest": digest, "size": manifest.len(),
                "platform": { "os": image.record.os, "architecture": image.record.architecture },
            });
            for name in &image.names {
                let mut entry = entry.clone();
                entry["annotations"] = json!({
                    "io.containerd.image.name": name.to_string(),
                    "org.opencontainers.image.ref.name": name.tag().unwrap_or_default(),
                });
                index.push(entry);
            }
            if image.names.is_empty() {
                index.push(entry);
            }
            let layers = image.record.layers.iter().map(|layer| layer.diff_id);
            docker.push(json!({
                "Config": blob_name(image.record.id),
                "RepoTags": image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
                "Layers": layers.map(blob_name).collect::<Vec<_>>(),
            }));
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": index,
        });
        archive.file("index.json", index.to_string().as_bytes())?;
        archive.file("manifest.json", json!(docker).to_string().as_bytes())?;
        archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let mut target = archive.tar.into_inner().map_err(failed)?;
        target.flush().map_err(failed)
    }
}

/// What is to be saved, all of it found.
pub(crate) struct Saving(Vec<Wanted>);

impl<W: Write> Archive<W> {
    /// Writes the layers and the configuration, and returns the manifest. The
    /// layers are as they are unpacked: packed ones would not come out as they
    /// came in.
    fn image(&mut self, store: &Store, record: &ImageRecord) -> Result<Vec<u8>, Error> {
        let mut layers = Vec::new();
        for layer in &record.layers {
            let tar = store.layer_tar(&layer.diff_id)?;
            let size = tar.length;
            if self.blobs.insert(layer.diff_id) {
                self.append(&blob_name(layer.diff_id), size, tar)?;
            }
            layers.push(Descriptor {
                media_type: LAYER.to_owned(),
                digest: layer.diff_id.to_string(),
                size,
                ..Descriptor::default()
            });
        }
        let configuration = store.configuration(record)?;
        self.blob(record.id, &configuration)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: Some(Descriptor {
                media_type: CONFIG.to_owned(),
                digest: record.id.to_string(),
                size: configuration.len() as u64,
                ..Descriptor::default()
            }),
            layers,
            manifests: Vec::new(),
        };
        serde_json::to_vec(&manifest).map_err(|error| Error::Damaged(error.to_string()))
    }

    fn blob(&mut self, digest: Digest, bytes: &[u8]) -> Result<(), Error> {
        if self.blobs.insert(digest) {
            self.file(&blob_name(digest), bytes)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.append(name, bytes.len() as u64, bytes)
    }

    fn append(&mut self, name: &str, size: u64, mut content: impl Read) -> Result<(), Error> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(size);
        let mut counted = Counted {
            source: &mut content,
            left: size,
        };
        self.tar
            .append_data(&mut header, name, &mut counted)
            .map_err(failed)
    }
}

/// Holds a member to its size, and reads past it to the end, where a layer is
/// checked.
struct Counted<'a> {
    source: &'a mut dyn Read,
    left: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.source.read(buffer)?;
        let wrong = || std::io::Error::other("a layer is not as long as it was");
        self.left = self.left.checked_sub(length as u64).ok_or_else(wrong)?;
        if length == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(wrong());
        }
        Ok(length)
    }
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn failed(error: std::io::Error) -> Error {
    Error::io("saving images", error)
}
