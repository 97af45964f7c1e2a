//! What a name stands for in a registry, and the platforms that it is made for.

use serde::Deserialize;
use wherry_proto::v1::DistributionResponse;
use wherry_proto::v1::distribution_response::Platform as Told;

use super::access::Endpoint;
use super::pull::{find, is_of_the_registry};
use super::repository::Repository;
use super::{Access, Error};
use crate::image::{Descriptor, Reference};

/// A manifest or index, as far as it is told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    manifests: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    platform: Option<Platform>,
}

/// A platform as an index has it; a configuration has the same fields.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Platform {
    architecture: String,
    os: String,
    variant: String,
    #[serde(rename = "os.version")]
    os_version: String,
    #[serde(rename = "os.features")]
    os_features: Option<Vec<String>>,
}

impl From<Platform> for Told {
    fn from(platform: Platform) -> Self {
        Self {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            os_version: platform.os_version,
            os_features: platform.os_features.unwrap_or_default(),
        }
    }
}

/// Asks the registry of `name`, or a mirror of it, what it stands for.
///
/// # Errors
///
/// [`Error::NotFound`], and those of the registry.
pub(crate) async fn distribution(
    access: &Access,
    name: &str,
) -> Result<DistributionResponse, Error> {
    let reference: Reference = name.parse().map_err(Error::Image)?;
    for mirror in access.mirrors(reference.domain())? {
        match ask(access, &mirror, &reference).await {
            Err(error) if is_of_the_registry(&error) => {
                tracing::info!(mirror = mirror.registry, "a mirror does not help: {error}");
            }
            end => return end,
        }
    }
    ask(access, &access.endpoint(reference.domain())?, &reference).await
}

async fn ask(
    access: &Access,
    endpoint: &Endpoint,
    reference: &Reference,
) -> Result<DistributionResponse, Error> {
    let (session, named) = find(access, endpoint, reference).await?;
    let document: Document = serde_json::from_slice(&named.bytes).map_err(|error| {
        session.dishonest(&format!(
            "the manifest {} cannot be read: {error}",
            named.digest
        ))
    })?;
    let platforms = match (document.manifests, document.config) {
        (Some(entries), _) => {
            let platforms = entries.into_iter().filter_map(|entry| entry.platform);
            platforms.map(Told::from).collect()
        }
        (None, Some(config)) => {
            let repository = Repository {
                session: &session,
                path: reference.path(),
            };
            let bytes = repository.document(&config, "the configuration").await?;
            // As Docker: a configuration that says nothing of it is one of an
            // artifact that is no image.
            let platform: Platform = serde_json::from_slice(&bytes).unwrap_or_default();
            let is_said = !(platform.os.is_empty() && platform.architecture.is_empty());
            is_said.then(|| platform.into()).into_iter().collect()
        }
        (None, None) => Vec::new(),
    };
    Ok(DistributionResponse {
        media_type: document
            .media_type
            .filter(|kind| !kind.is_empty())
            .unwrap_or(named.media_type),
        digest: named.digest.to_string(),
        size: named.bytes.len() as u64,
        platforms,
    })
}
