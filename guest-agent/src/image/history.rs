//! How an image came to be.

use super::oci::{Configuration, parse};
use super::time::{parse_time, timestamp};
use super::{Digest, Error, Store};

/// One step of an image's making.
pub(crate) struct Step {
    /// Nanoseconds since 1970.
    pub(crate) created_ns: Option<i64>,
    pub(crate) created_by: String,
    pub(crate) comment: String,
    /// Bytes of the files that it added.
    pub(crate) size: u64,
    /// The image that it ends with, if that has a name of its own.
    pub(crate) id: Option<Digest>,
    pub(crate) names: Vec<String>,
}

impl From<Step> for wherry_proto::v1::image_history_response::Step {
    fn from(step: Step) -> Self {
        Self {
            id: step.id.map(|id| id.to_string()).unwrap_or_default(),
            created: step.created_ns.map(timestamp),
            created_by: step.created_by,
            size: step.size,
            comment: step.comment,
            tags: step.names,
        }
    }
}

/// What only the configuration of an image says.
#[derive(Default, serde::Deserialize)]
pub(crate) struct Details {
    #[serde(default)]
    pub(crate) author: Option<String>,
    #[serde(default)]
    pub(crate) variant: Option<String>,
    #[serde(default)]
    pub(crate) docker_version: Option<String>,
    #[serde(default)]
    pub(crate) comment: Option<String>,
}

impl Store {
    /// Returns the steps of an image, the latest first.
    pub(crate) fn history(&self, name: &str) -> Result<Vec<Step>, Error> {
        let record = self.inspect(name)?;
        let bytes = self.configuration(&record)?;
        let configuration: Configuration = parse("the image's configuration", &bytes)?;
        let mut layers = record.layers.iter();
        let mut steps: Vec<Step> = configuration
            .history
            .into_iter()
            .map(|step| Step {
                created_ns: step.created.as_deref().and_then(parse_time),
                created_by: step.created_by.unwrap_or_default(),
                comment: step.comment.unwrap_or_default(),
                size: if step.empty_layer {
                    0
                } else {
                    layers.next().map_or(0, |layer| layer.size)
                },
                id: None,
                names: Vec::new(),
            })
            .collect();
        // Layers that the history does not know.
        steps.extend(layers.map(|layer| Step {
            created_ns: None,
            created_by: String::new(),
            comment: String::new(),
            size: layer.size,
            id: None,
            names: Vec::new(),
        }));
        if let Some(last) = steps.last_mut() {
            last.id = Some(record.id);
            last.names = record.names;
        }
        steps.reverse();
        Ok(steps)
    }

    /// Returns what the record of an image does not say.
    pub(crate) fn details(&self, record: &super::ImageRecord) -> Details {
        let bytes = self.configuration(record).unwrap_or_default();
        let mut details: Details = serde_json::from_slice(&bytes).unwrap_or_default();
        let configuration: Option<Configuration> = serde_json::from_slice(&bytes).ok();
        let last = configuration.and_then(|mut configuration| configuration.history.pop());
        details.comment = last.and_then(|step| step.comment).or(details.comment);
        details
    }
}
