//! Archives for tests, hostile ones among them: the headers are written field
//! by field, since the tar crate's builder refuses what we must survive.

use std::io::Write;
use std::path::Path;

use serde_json::json;
use tar::{EntryType, Header};

use super::{Digest, Store};

/// A tar stream in the making.
#[derive(Default)]
pub(super) struct Tar(Vec<u8>);

impl Tar {
    /// Adds an entry as it is given.
    pub(super) fn raw(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        mode: u32,
        content: &[u8],
    ) -> Tar {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len().min(100)]
            .copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.append(&header, content);
        self
    }

    /// Adds a header that the caller made.
    pub(super) fn header(mut self, mut header: Header, content: &[u8]) -> Tar {
        header.set_cksum();
        self.append(&header, content);
        self
    }

    fn append(&mut self, header: &Header, content: &[u8]) {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    pub(super) fn file(self, name: &str, content: &[u8]) -> Tar {
        self.raw(EntryType::Regular, name, "", 0o644, content)
    }

    pub(super) fn dir(self, name: &str) -> Tar {
        self.raw(EntryType::Directory, name, "", 0o755, b"")
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Tar {
        self.raw(EntryType::Symlink, name, target, 0o777, b"")
    }

    pub(super) fn hard_link(self, name: &str, target: &str) -> Tar {
        self.raw(EntryType::Link, name, target, 0o644, b"")
    }

    pub(super) fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut content = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length.to_string().len() + body != length {
                length = length.to_string().len() + body;
            }
            write!(content, "{length} {key}=").unwrap();
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.raw(EntryType::XHeader, "pax", "", 0o644, &content)
    }

    pub(super) fn done(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(bytes, 1).unwrap()
}

/// An image in the making: layers as (unpacked, as stored).
#[derive(Clone, Default)]
pub(super) struct TestImage {
    layers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Written into the configuration instead of the true ones.
    pub(super) diff_ids: Option<Vec<String>>,
    pub(super) names: Vec<String>,
    pub(super) architecture: Option<String>,
    /// What the configuration has beside what this program knows.
    pub(super) more: serde_json::Map<String, serde_json::Value>,
}

impl TestImage {
    pub(super) fn new(name: &str) -> TestImage {
        TestImage {
            names: vec![name.to_owned()],
            ..TestImage::default()
        }
    }

    pub(super) fn layer(mut self, tar: Vec<u8>) -> TestImage {
        self.layers.push((tar.clone(), tar));
        self
    }

    pub(super) fn packed_layer(mut self, tar: Vec<u8>, pack: fn(&[u8]) -> Vec<u8>) -> TestImage {
        let packed = pack(&tar);
        self.layers.push((tar, packed));
        self
    }

    pub(super) fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self
            .layers
            .iter()
            .map(|(tar, _)| Digest::of(tar).to_string())
            .collect();
        let ours = super::oci::our_platform();
        let mut config = json!({
            "created": "2024-05-01T12:00:00Z",
            "architecture": self.architecture.clone().unwrap_or(ours.architecture),
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["A=b"], "ExposedPorts": {"80/tcp": {}}, "Labels": null, "WorkingDir": "/srv"},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids.clone().unwrap_or(diff_ids)},
        });
        for (key, value) in &self.more {
            match (config.get_mut(key), value) {
                (Some(serde_json::Value::Object(known)), serde_json::Value::Object(more)) => {
                    known.extend(more.clone());
                }
                _ => config[key] = value.clone(),
            }
        }
        serde_json::to_vec(&config).unwrap()
    }

    /// The members of an OCI layout: blobs as (name, content), and the
    /// descriptor of the manifest.
    pub(super) fn blobs(&self) -> (Vec<(String, Vec<u8>)>, serde_json::Value) {
        let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
        let config = self.config();
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|(_, packed)| descriptor(super::oci::LAYER, packed))
            .collect();
        let manifest = json!({"schemaVersion": 2, "config": descriptor(super::oci::CONFIG, &config), "layers": layers});
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut entry = descriptor(super::oci::MANIFEST, &manifest);
        if let Some(name) = self.names.first() {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        }
        let blobs = [config, manifest]
            .into_iter()
            .chain(self.layers.iter().map(|(_, packed)| packed.clone()));
        (
            blobs
                .map(|bytes| (format!("blobs/sha256/{}", Digest::of(&bytes).hex()), bytes))
                .collect(),
            entry,
        )
    }

    /// An OCI layout, the index last, as the digests sort before it.
    pub(super) fn layout(&self) -> Vec<u8> {
        let (blobs, entry) = self.blobs();
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        let tar = blobs
            .iter()
            .fold(Tar::default(), |tar, (name, bytes)| add(tar, name, bytes));
        tar.file("index.json", index.as_bytes())
            .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
            .done()
    }

    /// An archive as `docker save` made them before version 25.
    pub(super) fn docker(&self) -> Vec<u8> {
        let config = self.config();
        let config_name = format!("{}.json", Digest::of(&config).hex());
        let mut tar = add(Tar::default(), &config_name, &config);
        let mut layers = Vec::new();
        for (index, (_, packed)) in self.layers.iter().enumerate() {
            let name = format!("{index}/layer.tar");
            tar = tar.file(&name, packed);
            layers.push(name);
        }
        let manifest =
            json!([{"Config": config_name, "RepoTags": self.names, "Layers": layers}]).to_string();
        tar.file("manifest.json", manifest.as_bytes()).done()
    }
}

pub(super) fn add(tar: Tar, name: &str, bytes: &[u8]) -> Tar {
    tar.file(name, bytes)
}

/// A store in a directory that has a neighbour, which must stay as it is.
pub(super) struct Sandbox {
    pub(super) directory: tempfile::TempDir,
    pub(super) store: Store,
}

impl Sandbox {
    pub(super) fn new() -> Sandbox {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("outside")).unwrap();
        std::fs::write(directory.path().join("outside/canary"), b"alive").unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        Sandbox { directory, store }
    }

    pub(super) fn load(&self, archive: &[u8]) -> Result<Vec<super::ImageRecord>, super::Error> {
        self.store.load(archive, &mut |_| {})
    }

    /// Holds that nothing escaped and nothing half-made is left.
    pub(super) fn assert_untouched(&self) {
        self.assert_canary();
        assert!(self.store.list().is_empty());
        for directory in [
            self.store.layers(),
            self.store.temporary(),
            self.path().join("store/blobs/sha256"),
        ] {
            assert_eq!(
                names(&directory),
                Vec::<String>::new(),
                "{}",
                directory.display()
            );
        }
    }

    pub(super) fn assert_canary(&self) {
        let outside = self.path().join("outside");
        assert_eq!(names(&outside), ["canary"]);
        assert_eq!(std::fs::read(outside.join("canary")).unwrap(), b"alive");
        assert_eq!(names(self.path()), ["outside", "store"]);
        assert_eq!(
            names(&self.path().join("store")),
            ["blobs", "images", "layers", "skeletons"]
        );
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
