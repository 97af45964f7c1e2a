use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wherry_proto::v1;

use super::Digest;
use super::oci::{Configuration, HealthConfig};
use super::time::{parse_time, timestamp};

/// What the store knows of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// The digest of the configuration.
    pub(crate) id: Digest,
    /// The names, normalised (`docker.io/library/nginx:latest`), sorted.
    pub(crate) names: Vec<String>,
    /// What registries know it by, `docker.io/library/nginx@sha256:…`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) digests: Vec<String>,
    /// The digest of the manifest. Archives of Docker's older form have none
    /// and get one of our making.
    pub(crate) manifest_digest: Digest,
    /// The layers, lowest first.
    pub(crate) layers: Vec<LayerRecord>,
    /// When the image was made, nanoseconds since 1970.
    pub(crate) created_ns: Option<i64>,
    /// OCI's word for the processor, `amd64`.
    pub(crate) architecture: String,
    /// OCI's word for the system, `linux`.
    pub(crate) os: String,
    /// How to run it.
    pub(crate) config: RunDefaults,
    /// Removed, though containers that do not run are made of it: nobody sees
    /// it any more, and it goes with the last of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) removed: bool,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// The digest of the unpacked tar stream; names the layer's directory.
    pub(crate) diff_id: Digest,
    /// Bytes of the files in it.
    pub(crate) size: u64,
}

/// What an image says about running it, as the wire carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub(crate) struct RunDefaults {
    pub(crate) user: String,
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) exposed_ports: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) stop_signal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) healthcheck: Option<HealthConfig>,
}

impl ImageRecord {
    /// Returns the id with its `sha256:`.
    pub(crate) fn id(&self) -> String {
        self.id.to_string()
    }

    /// Returns the bytes of the files in all layers.
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    pub(super) fn new(
        id: Digest,
        manifest_digest: Digest,
        configuration: &Configuration,
        layers: Vec<LayerRecord>,
    ) -> Self {
        let run = &configuration.config;
        ImageRecord {
            id,
            names: Vec::new(),
            digests: Vec::new(),
            manifest_digest,
            layers,
            created_ns: configuration.created.as_deref().and_then(parse_time),
            architecture: configuration.architecture.clone(),
            os: configuration.os.clone(),
            config: RunDefaults {
                user: run.user.clone(),
                env: run.env.clone(),
                entrypoint: run.entrypoint.clone(),
                cmd: run.cmd.clone(),
                working_dir: run.working_dir.clone(),
                labels: run.labels.clone(),
                exposed_ports: run.exposed_ports.keys().cloned().collect(),
                volumes: run.volumes.keys().cloned().collect(),
                stop_signal: run.stop_signal.clone(),
                healthcheck: run.healthcheck.clone(),
            },
            removed: false,
        }
    }
}

impl From<&RunDefaults> for v1::ImageConfig {
    fn from(config: &RunDefaults) -> Self {
        v1::ImageConfig {
            user: config.user.clone(),
            env: config.env.clone(),
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            working_dir: config.working_dir.clone(),
            labels: config.labels.clone().into_iter().collect(),
            exposed_ports: config.exposed_ports.clone(),
            volumes: config.volumes.clone(),
            stop_signal: config.stop_signal.clone(),
            health_check: config.healthcheck.as_ref().map(Into::into),
        }
    }
}

impl From<&HealthConfig> for v1::HealthCheck {
    fn from(config: &HealthConfig) -> Self {
        // What is negative is as good as not given.
        let positive = |number: i64| u64::try_from(number).unwrap_or(0);
        v1::HealthCheck {
            test: config.test.clone(),
            interval_ns: positive(config.interval),
            timeout_ns: positive(config.timeout),
            start_period_ns: positive(config.start_period),
            start_interval_ns: positive(config.start_interval),
            retries: u32::try_from(config.retries).unwrap_or(0),
        }
    }
}

impl From<&ImageRecord> for v1::Image {
    fn from(record: &ImageRecord) -> Self {
        v1::Image {
            id: record.id.to_string(),
            tags: record.names.clone(),
            manifest_digest: record.manifest_digest.to_string(),
            created: record.created_ns.map(timestamp),
            size: record.size(),
            architecture: record.architecture.clone(),
            os: record.os.clone(),
            config: Some((&record.config).into()),
            layers: record
                .layers
                .iter()
                .map(|layer| layer.diff_id.to_string())
                .collect(),
            digests: record.digests.clone(),
            ..v1::Image::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_health_check_reaches_the_wire() {
        let configuration: Configuration = serde_json::from_str(
            r#"{"config": {"Healthcheck": {"Test": ["CMD", "x"], "Interval": 5000000000, "Retries": 2}}, "rootfs": {"type": "layers", "diff_ids": []}}"#,
        )
        .unwrap();
        let check = configuration.config.healthcheck.as_ref().unwrap();
        let check = v1::HealthCheck::from(check);
        assert_eq!(check.test, ["CMD", "x"]);
        assert_eq!((check.interval_ns, check.retries), (5_000_000_000, 2));
        assert_eq!(check.timeout_ns, 0);
    }
}
