//! The built-in image `docker.io/library/hello:latest`: one archive that is an
//! OCI image layout (image-spec, image-layout.md) and a Docker archive at once,
//! as `docker save` writes it.

use std::path::Path;

use serde_json::{Value, json};

use crate::Architecture;
use crate::cache::sha256;
use crate::error::{OnPath, Result};
use crate::freestanding::{HELLO, compile};

const NAME: &str = "docker.io/library/hello:latest";

/// Returns the archive's bytes.
pub(crate) fn archive(architecture: Architecture) -> Result<Vec<u8>> {
    image(&compile(HELLO, architecture)?, architecture)
}

fn image(program: &[u8], architecture: Architecture) -> Result<Vec<u8>> {
    let layer = tar(&[("hello", 0o755, program)])?;
    let layer_digest = sha256(&layer);
    let config = json!({
        "architecture": architecture.oci_name(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Cmd": ["/hello"], "Env": ["PATH=/"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{
            "created": "1970-01-01T00:00:00Z",
            "created_by": "wherry-linuxkit",
        }],
    });
    let config = config.to_string().into_bytes();
    let config_digest = sha256(&config);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config_digest, config.len()),
        "layers": [descriptor("layer.v1.tar", &layer_digest, layer.len())],
    });
    let manifest = manifest.to_string().into_bytes();
    let manifest_digest = sha256(&manifest);
    let mut listed = descriptor("manifest.v1+json", &manifest_digest, manifest.len());
    listed["annotations"] = json!({
        "io.containerd.image.name": NAME,
        "org.opencontainers.image.ref.name": "latest",
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [listed],
    });
    let blob = |digest: &str| format!("blobs/sha256/{digest}");
    let docker = json!([{
        "Config": blob(&config_digest),
        "RepoTags": ["hello:latest"],
        "Layers": [blob(&layer_digest)],
    }]);
    tar(&[
        ("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", 0o644, index.to_string().as_bytes()),
        ("manifest.json", 0o644, docker.to_string().as_bytes()),
        (&blob(&config_digest), 0o644, &config),
        (&blob(&manifest_digest), 0o644, &manifest),
        (&blob(&layer_digest), 0o644, &layer),
    ])
}

fn descriptor(kind: &str, digest: &str, size: usize) -> Value {
    json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": format!("sha256:{digest}"),
        "size": size,
    })
}

/// Returns an archive of regular files owned by root, without times.
fn tar(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>> {
    let memory = Path::new("an archive in memory");
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_mode(*mode);
        header.set_size(bytes.len() as u64);
        builder
            .append_data(&mut header, name, *bytes)
            .on("write", memory)?;
    }
    builder.into_inner().on("write", memory)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn unpacked(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            files.insert(name, data);
        }
        files
    }

    #[test]
    fn every_blob_has_the_digest_of_its_name_and_the_layer_holds_the_program() {
        let files = unpacked(&image(b"program", Architecture::X86_64).unwrap());
        let blobs: Vec<_> = files
            .iter()
            .filter_map(|(name, data)| Some((name.strip_prefix("blobs/sha256/")?, data)))
            .collect();
        assert_eq!(blobs.len(), 3);
        for (digest, data) in blobs {
            assert_eq!(digest, sha256(data));
        }
        let docker: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let layer = docker[0]["Layers"][0].as_str().unwrap();
        assert_eq!(unpacked(&files[layer])["hello"], b"program");
    }

    #[test]
    fn same_program_gives_the_same_image() {
        let build = || image(b"program", Architecture::X86_64).unwrap();
        assert_eq!(build(), build());
    }
}
