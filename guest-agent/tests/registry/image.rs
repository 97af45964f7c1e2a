//! Images as registries have them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The digest of some bytes, as registries write it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A tar of files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// An image, its parts apart.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) manifest: Value,
}

impl Image {
    /// Makes an image of layers, the first gzip, the second zstd, the third plain.
    pub(crate) fn new(architecture: &str, layers: &[Vec<u8>]) -> Image {
        let diff_ids: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Cmd": ["sh"], "Env": ["A=1"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": [{ "created_by": "a test" }],
        });
        let layers: Vec<_> = layers
            .iter()
            .enumerate()
            .map(|(index, layer)| match index % 3 {
                0 => gzip(layer),
                1 => zstd::encode_all(&layer[..], 1).unwrap(),
                _ => layer.clone(),
            })
            .collect();
        Image::of(config.to_string().into_bytes(), layers)
    }

    /// Makes an image of a configuration and packed layers.
    pub(crate) fn of(config: Vec<u8>, layers: Vec<Vec<u8>>) -> Image {
        let kinds = ["+gzip", "+zstd", ""];
        let described: Vec<_> = layers
            .iter()
            .enumerate()
            .map(|(index, layer)| {
                let kind = kinds[index % 3];
                let kind = format!("application/vnd.oci.image.layer.v1.tar{kind}");
                descriptor(&kind, layer)
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": described,
        });
        Image {
            config,
            layers,
            manifest,
        }
    }

    pub(crate) fn manifest_bytes(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }

    /// Its blobs by digest, the manifest among them.
    pub(crate) fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        let parts = [self.config.clone(), self.manifest_bytes()];
        parts
            .into_iter()
            .chain(self.layers.clone())
            .map(|blob| (digest(&blob), blob))
            .collect()
    }
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

/// Makes an index of images and the platforms they are for.
pub(crate) fn index(images: &[(&Image, Value)]) -> Vec<u8> {
    let manifests: Vec<_> = images
        .iter()
        .map(|(image, platform)| {
            let bytes = image.manifest_bytes();
            let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &bytes);
            entry["platform"] = platform.clone();
            entry
        })
        .collect();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    index.to_string().into_bytes()
}

/// Writes an OCI layout with one entry, a manifest or an index.
pub(crate) fn write_layout(directory: &Path, images: &[&Image], root: &[u8]) {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let place = |digest: &str| blobs.join(digest.strip_prefix("sha256:").unwrap());
    for image in images {
        for (digest, blob) in image.blobs() {
            std::fs::write(place(&digest), blob).unwrap();
        }
    }
    std::fs::write(place(&digest(root)), root).unwrap();
    let kind: Value = serde_json::from_slice(root).unwrap();
    let mut entry = descriptor(kind["mediaType"].as_str().unwrap(), root);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "it" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
    std::fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}
