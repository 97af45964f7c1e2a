use std::io::{self, Read};

use serde_json::{Value, json};
use wherry_proto::v1::ImageConfig;

use super::import::{apply, now};
use super::layer::{Compression, unpack};
use super::load::docker::manifest_of;
use super::oci::{Configuration, Empty, RunConfig, parse};
use super::store::NewImage;
use super::{Digest, Error, ImageRecord, LayerRecord, Reference, Store};

/// A layer on top of an image, and what makes a new image of both.
pub(crate) struct NewLayer<'a> {
    /// The id of the image below.
    pub(crate) base: &'a str,
    /// The new image's name; empty for none.
    pub(crate) name: &'a str,
    pub(crate) author: &'a str,
    /// A comment for the history.
    pub(crate) message: &'a str,
    /// The command that made the layer, for the history.
    pub(crate) created_by: String,
    /// How to run the new image.
    pub(crate) config: ImageConfig,
    /// Dockerfile instructions, applied to `config`.
    pub(crate) changes: &'a [String],
}

impl Store {
    /// Makes an image of another one and a layer, given as tar. `packed` is
    /// called at the tar's end and tells whether it is whole.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::InvalidReference`], [`Error::InvalidChange`],
    /// those of the layer; nothing is left then.
    pub(crate) fn add_layer(
        &self,
        new: NewLayer<'_>,
        mut layer: impl Read,
        packed: impl FnOnce() -> io::Result<()>,
    ) -> Result<ImageRecord, Error> {
        let name = match new.name {
            "" => None,
            name => Some(name.parse::<Reference>()?),
        };
        let mut config = run_config(new.config);
        for change in new.changes {
            apply(change, &mut config).map_err(|reason| Error::InvalidChange {
                change: change.clone(),
                reason,
            })?;
        }
        let unpacked = unpack(
            &mut layer,
            Compression::None,
            &self.temporary(),
            "container",
        );
        // A reader that is gone ends a packer that goes on after a failure.
        drop(layer);
        packed().map_err(|error| Error::io("packing the container's files", error))?;
        let unpacked = unpacked?;

        let not_found = || Error::NotFound(new.base.to_owned());
        let base = self.by_id(new.base).ok_or_else(not_found)?;
        let blob = self.blob(&base.id);
        let bytes = std::fs::read(&blob).map_err(|error| Error::path("reading", &blob, error))?;
        let mut configuration: Value = parse("the image's configuration", &bytes)?;
        let created = now();
        let mut history = json!({
            "created": created,
            "created_by": new.created_by,
            "comment": new.message,
        });
        if !new.author.is_empty() {
            history["author"] = json!(new.author);
        }
        let broken = || Error::Damaged(format!("{} has no list of layers", blob.display()));
        let lists = [
            (
                "/rootfs/diff_ids",
                json!(unpacked.layer.diff_id.to_string()),
            ),
            ("/history", history),
        ];
        let object = configuration.as_object_mut().ok_or_else(broken)?;
        object.insert("created".to_owned(), json!(created));
        // The base's is not this image's.
        object.remove("author");
        if !new.author.is_empty() {
            object.insert("author".to_owned(), json!(new.author));
        }
        if object.get("history").is_none_or(Value::is_null) {
            object.insert("history".to_owned(), json!([]));
        }
        // What this version does not know of stays.
        let known =
            serde_json::to_value(config).map_err(|error| Error::Damaged(error.to_string()))?;
        let old = object.entry("config").or_insert_with(|| json!({}));
        if !old.is_object() {
            *old = json!({});
        }
        if let (Some(old), Value::Object(known)) = (old.as_object_mut(), known) {
            old.retain(|key, _| !KNOWN.contains(&key.as_str()));
            old.extend(known);
        }
        for (list, element) in lists {
            let list = configuration
                .pointer_mut(list)
                .and_then(Value::as_array_mut);
            list.ok_or_else(broken)?.push(element);
        }
        let bytes = serde_json::to_vec(&configuration)
            .map_err(|error| Error::Damaged(error.to_string()))?;
        let configuration: Configuration = parse("the new image's configuration", &bytes)?;
        let mut layers = base.layers.clone();
        layers.push(LayerRecord {
            diff_id: unpacked.layer.diff_id,
            size: unpacked.layer.size,
        });
        let id = Digest::of(&bytes);
        let manifest = manifest_of(id, &bytes, &layers);
        let manifest_digest = Digest::of(&manifest);
        let image = NewImage {
            record: ImageRecord::new(id, manifest_digest, &configuration, layers),
            names: name.into_iter().collect(),
            digests: Vec::new(),
            blobs: vec![(id, bytes), (manifest_digest, manifest)],
        };
        let records = self.commit(vec![image], &[unpacked.layer])?;
        records.into_iter().next().ok_or_else(not_found)
    }
}

/// The keys of [`RunConfig`].
const KNOWN: [&str; 9] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
];

fn run_config(config: ImageConfig) -> RunConfig {
    let set = |names: Vec<String>| names.into_iter().map(|name| (name, Empty {})).collect();
    RunConfig {
        user: config.user,
        exposed_ports: set(config.exposed_ports),
        env: config.env,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: set(config.volumes),
        working_dir: config.working_dir,
        labels: config.labels.into_iter().collect(),
        stop_signal: config.stop_signal,
        // The base's stays.
        healthcheck: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Sandbox, Tar, TestImage};
    use super::*;

    fn sandbox() -> (Sandbox, ImageRecord, Vec<u8>) {
        let sandbox = Sandbox::new();
        let mut image = TestImage::new("base:1").layer(Tar::default().file("a", b"1").done());
        let more = json!({
            "author": "somebody",
            "os.version": "7",
            "future": {"key": [1, 2]},
            "config": {"ArgsEscaped": true, "OnBuild": ["RUN x"], "Healthcheck": {"Test": ["NONE"]}},
        });
        image.more = more.as_object().unwrap().clone();
        let record = sandbox.load(&image.layout()).unwrap().remove(0);
        (sandbox, record, image.config())
    }

    #[test]
    fn a_saved_image_has_its_configuration_to_the_byte() {
        let (sandbox, record, configuration) = sandbox();
        assert_eq!(record.id, Digest::of(&configuration));
        let saving = sandbox.store.find_to_save(&["base:1".to_owned()]).unwrap();
        let mut saved = Vec::new();
        sandbox.store.save(&saving, &mut saved).unwrap();
        let found = saved
            .windows(configuration.len())
            .any(|bytes| bytes == configuration);
        assert!(found);
    }

    #[test]
    fn a_new_layer_keeps_what_the_image_below_says_and_nobody_here_knows() {
        let (sandbox, base, configuration) = sandbox();
        let old: Value = serde_json::from_slice(&configuration).unwrap();
        let tar = Tar::default().file("b", b"2").done();
        // But for its author, who made another image.
        for (author, expected) in [("", Value::Null), ("me", "me".into())] {
            let new = NewLayer {
                base: &base.id(),
                name: "made:1",
                author,
                message: "why",
                created_by: "sh".to_owned(),
                config: ImageConfig::default(),
                changes: &[],
            };
            let made = sandbox.store.add_layer(new, &tar[..], || Ok(())).unwrap();
            let bytes = std::fs::read(sandbox.store.blob(&made.id)).unwrap();
            let made: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(made["author"], expected);
            for pointer in [
                "/os.version",
                "/future",
                "/config/ArgsEscaped",
                "/config/OnBuild",
                "/config/Healthcheck",
            ] {
                assert!(old.pointer(pointer).is_some(), "{pointer}");
                assert_eq!(made.pointer(pointer), old.pointer(pointer), "{pointer}");
            }
            let last = made["history"].as_array().unwrap().last().unwrap();
            assert_eq!(last["comment"], "why");
            assert_eq!(last.get("author").is_some(), !author.is_empty());
        }
    }
}
