//! `manifest.json`, Docker's own list of an archive's images.

use super::archive::{Archive, check_diff_ids, configuration};
use crate::image::oci::{CONFIG, Descriptor, DockerManifest, LAYER, MANIFEST, Manifest, parse};
use crate::image::store::NewImage;
use crate::image::{Digest, Error, ImageRecord, Reference};

/// Adds the images of a `manifest.json`; of those that are known from the
/// index already, the names.
pub(super) fn add_images(
    archive: &Archive,
    manifest: &[u8],
    images: &mut Vec<NewImage>,
) -> Result<(), Error> {
    let entries: Vec<DockerManifest> = parse("manifest.json", manifest)?;
    // A layout speaks for the whole archive; only without one are images read here.
    let from_layout = !images.is_empty();
    for entry in entries {
        let names: Vec<Reference> = entry
            .repo_tags
            .iter()
            .map(|name| name.parse())
            .collect::<Result<_, _>>()?;
        let (id, bytes) = archive.document(&entry.config)?;
        if let Some(image) = images.iter_mut().find(|image| image.record.id == id) {
            for name in names {
                if !image.names.contains(&name) {
                    image.names.push(name);
                }
            }
            continue;
        }
        if from_layout {
            continue;
        }
        check_config_name(&entry.config, id)?;
        let configuration = configuration(bytes)?;
        let layers: Vec<_> = entry
            .layers
            .iter()
            .map(|name| archive.layer(name).cloned())
            .collect::<Result<_, _>>()?;
        check_diff_ids(&configuration, &layers)?;
        let manifest = manifest_of(id, bytes, &layers);
        let manifest_digest = Digest::of(&manifest);
        images.push(NewImage {
            record: ImageRecord::new(id, manifest_digest, &configuration, layers),
            names,
            digests: Vec::new(),
            blobs: vec![(id, bytes.to_vec()), (manifest_digest, manifest)],
        });
    }
    Ok(())
}

/// `docker save` names a configuration by its digest: hold it to that.
fn check_config_name(name: &str, found: Digest) -> Result<(), Error> {
    let file = name.rsplit('/').next().unwrap_or(name);
    match Digest::from_hex(file.strip_suffix(".json").unwrap_or(file)) {
        Some(expected) if expected != found => Err(Error::DigestMismatch {
            what: format!("the configuration {name}"),
            expected: expected.to_string(),
            found: found.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Makes the manifest that an archive of the older form lacks: the layers as
/// they are unpacked.
pub(in crate::image) fn manifest_of(
    id: Digest,
    configuration: &[u8],
    layers: &[crate::image::LayerRecord],
) -> Vec<u8> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: Some(Descriptor {
            media_type: CONFIG.to_owned(),
            digest: id.to_string(),
            size: configuration.len() as u64,
            ..Descriptor::default()
        }),
        layers: layers
            .iter()
            .map(|layer| Descriptor {
                media_type: LAYER.to_owned(),
                digest: layer.diff_id.to_string(),
                size: layer.size,
                ..Descriptor::default()
            })
            .collect(),
        manifests: Vec::new(),
    };
    // Strings and numbers alone: there is nothing in it that JSON cannot say.
    serde_json::to_vec(&manifest).unwrap_or_default()
}
