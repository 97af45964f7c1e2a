//! `index.json` of an OCI image layout: image-spec, image-layout.md.

use std::collections::BTreeMap;

use super::archive::{Archive, check_diff_ids, configuration};
use crate::image::oci::{Descriptor, Manifest, Platform, our_platform, parse};
use crate::image::store::NewImage;
use crate::image::{Digest, Error, ImageRecord, Reference};

const NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Indexes may hold indexes; deeper than this is a cycle.
const MAX_DEPTH: usize = 4;

/// Reads every image of the index.
pub(super) fn images(archive: &Archive, index: &[u8]) -> Result<Vec<NewImage>, Error> {
    let index: Manifest = parse("index.json", index)?;
    let mut images: BTreeMap<Digest, NewImage> = BTreeMap::new();
    // Several entries without names and with platforms are one image's variants.
    let variants =
        index.manifests.len() > 1 && index.manifests.iter().all(|entry| entry.platform.is_some());
    let roots = if variants {
        choose(&index.manifests, archive, "index.json")?
    } else {
        index.manifests.iter().collect()
    };
    for root in roots {
        let name = name_of(root);
        let image = image(archive, root, name.as_ref(), 0)?;
        let entry = images.entry(image.record.id).or_insert(image);
        entry
            .names
            .extend(name.filter(|name| !entry.names.contains(name)));
    }
    Ok(images.into_values().collect())
}

fn image(
    archive: &Archive,
    descriptor: &Descriptor,
    name: Option<&Reference>,
    depth: usize,
) -> Result<NewImage, Error> {
    let (manifest_digest, bytes) = archive.blob(descriptor)?;
    let manifest: Manifest = parse(&format!("the manifest {manifest_digest}"), bytes)?;
    let Some(config) = &manifest.config else {
        if depth == MAX_DEPTH {
            return Err(Error::InvalidArchive(
                "its indexes are nested too deep".to_owned(),
            ));
        }
        let what = name.map_or_else(|| manifest_digest.to_string(), Reference::familiar);
        let chosen = choose(&manifest.manifests, archive, &what)?;
        let first = chosen.first().ok_or_else(|| {
            Error::InvalidArchive(format!("the index {manifest_digest} is empty"))
        })?;
        return image(archive, first, name, depth + 1);
    };
    let (id, config_bytes) = archive.blob(config)?;
    let configuration = configuration(config_bytes)?;
    let layers: Vec<_> = manifest
        .layers
        .iter()
        .map(|layer| archive.layer_blob(layer).cloned())
        .collect::<Result<_, _>>()?;
    check_diff_ids(&configuration, &layers)?;
    Ok(NewImage {
        record: ImageRecord::new(id, manifest_digest, &configuration, layers),
        names: Vec::new(),
        digests: Vec::new(),
        blobs: vec![
            (id, config_bytes.to_vec()),
            (manifest_digest, bytes.to_vec()),
        ],
    })
}

/// Chooses the variants for this machine, as many as there are.
fn choose<'a>(
    entries: &'a [Descriptor],
    archive: &Archive,
    what: &str,
) -> Result<Vec<&'a Descriptor>, Error> {
    let ours = our_platform();
    let fits =
        |platform: &Platform| platform.os == ours.os && platform.architecture == ours.architecture;
    let chosen: Vec<_> = entries
        .iter()
        // Without a platform an entry is for every machine.
        .filter(|entry| entry.platform.as_ref().is_none_or(fits))
        .collect();
    if chosen.is_empty() {
        let describe = |platform: &Platform| format!("{}/{}", platform.os, platform.architecture);
        let found: Vec<_> = entries
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            // Attestations stand in an index as unknown/unknown.
            .filter(|platform| platform.os != "unknown")
            .map(describe)
            .collect();
        return Err(Error::NoMatchingPlatform {
            image: what.to_owned(),
            wanted: describe(&ours),
            found: found.join(", "),
        });
    }
    // `docker save` keeps the whole index and only the variant it has.
    let present: Vec<_> = chosen
        .iter()
        .copied()
        .filter(|entry| archive.has(entry))
        .collect();
    Ok(if present.is_empty() { chosen } else { present })
}

/// A name from the annotations. `ref.name` is a whole name for some tools and a
/// bare tag for others, and a bare tag names nothing.
fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let full = descriptor
        .annotations
        .get(NAME)
        .and_then(|name| name.parse().ok());
    full.or_else(|| {
        let name = descriptor.annotations.get(REF_NAME)?;
        name.contains([':', '/'])
            .then(|| name.parse().ok())
            .flatten()
    })
}
