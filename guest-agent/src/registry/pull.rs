//! Pulling one image.

use std::sync::Arc;

use wherry_proto::v1::TransferResult;

use super::access::Endpoint;
use super::layers::LayerLocks;
use super::progress::Progress;
use super::repository::{Document, Repository};
use super::session::{Scope, Session};
use super::{Access, Error};
use crate::image::{
    self, Descriptor, Digest, FetchedImage, Manifest, Platform, Reference, Store, choose, summary,
};

/// Indexes may hold indexes; deeper than this is a cycle.
const MAX_DEPTH: usize = 4;
/// More layers than overlayfs stacks in one mount.
const MAX_LAYERS: usize = 500;

/// What configurations of images are called; an artifact of another kind has
/// another name for its own.
const CONFIGURATIONS: [&str; 3] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    // From registries that forget it.
    "",
];

/// What to pull.
pub(super) struct Pull {
    pub(super) store: Arc<Store>,
    pub(super) locks: Arc<LayerLocks>,
    pub(super) access: Access,
    pub(super) reference: Reference,
    /// What the user asked for.
    pub(super) platform: Option<Platform>,
    pub(super) progress: Progress,
}

/// Pulls an image: from a mirror that has it, or from the registry itself.
pub(super) async fn pull(pull: &Pull) -> Result<TransferResult, Error> {
    let domain = pull.reference.domain();
    for mirror in pull.access.mirrors(domain)? {
        match pull.fetch(&mirror).await {
            Err(error) if is_of_the_registry(&error) => {
                tracing::info!(mirror = mirror.registry, "a mirror does not help: {error}");
            }
            end => return end,
        }
    }
    pull.fetch(&pull.access.endpoint(domain)?).await
}

/// Tells whether another registry may do better.
pub(super) fn is_of_the_registry(error: &Error) -> bool {
    match error {
        Error::Image(error) => matches!(error, image::Error::InvalidArchive(_)),
        Error::Internal(_) | Error::Invalid(_) => false,
        _ => true,
    }
}

/// Tells whether a later pull may take up this one's layers.
fn may_go_on(error: &Error) -> bool {
    matches!(error, Error::Unreachable { .. } | Error::Refused { .. })
}

impl Pull {
    /// Fetches manifest, configuration, layers, and then gives them a name.
    async fn fetch(&self, endpoint: &Endpoint) -> Result<TransferResult, Error> {
        let (session, named) = find(&self.access, endpoint, &self.reference).await?;
        let repository = Repository {
            session: &session,
            path: self.reference.path(),
        };
        let wanted = self.platform.clone().unwrap_or_else(Platform::ours);
        let (document, manifest, config) = self.resolve(&repository, &named, &wanted).await?;
        let configuration = repository
            .document(&config, "the image's configuration")
            .await?;
        let diff_ids = self.diff_ids(&repository, &manifest, &configuration, &wanted)?;
        let pins = self.store.pin(diff_ids.clone());
        let layers = self.layers(&repository, &manifest.layers, &diff_ids).await;
        let layers = match layers {
            Ok(layers) => layers,
            Err(error) if may_go_on(&error) => return Err(error),
            Err(error) => {
                drop(pins);
                let store = self.store.clone();
                blocking(move || Ok(store.forget_layers(&diff_ids)?)).await?;
                return Err(error);
            }
        };
        let fetched = FetchedImage {
            manifest: document.bytes,
            configuration,
            layers,
            name: self
                .reference
                .digest()
                .is_none()
                .then(|| self.reference.clone()),
            digest: self.reference.canonical(&named.digest),
        };
        self.commit(fetched, &named).await
    }

    /// Checks what a configuration says, and returns the layers unpacked.
    fn diff_ids(
        &self,
        repository: &Repository<'_>,
        manifest: &Manifest,
        configuration: &[u8],
        wanted: &Platform,
    ) -> Result<Vec<Digest>, Error> {
        let name = self.reference.familiar();
        let summary = summary(configuration)?;
        if !wanted.fits(&summary.platform) {
            if self.platform.is_some() {
                return Err(image::Error::NoMatchingPlatform {
                    image: name,
                    wanted: wanted.to_string(),
                    found: summary.platform.to_string(),
                }
                .into());
            }
            self.progress.message(format!(
                "warning: the image is made for {}, this machine is {wanted}",
                summary.platform
            ));
        }
        let (layers, diff_ids) = (manifest.layers.len(), summary.diff_ids.len());
        if layers != diff_ids {
            return Err(repository.session.dishonest(&format!(
                "the manifest has {layers} layers and the configuration {diff_ids}"
            )));
        }
        if layers > MAX_LAYERS {
            return Err(Error::NoImage(format!(
                "{name} has {layers} layers, and no more than {MAX_LAYERS} can be mounted"
            )));
        }
        Ok(summary.diff_ids)
    }

    /// Makes the image visible.
    async fn commit(
        &self,
        fetched: FetchedImage,
        named: &Document,
    ) -> Result<TransferResult, Error> {
        let digest = fetched.digest.clone();
        let name = fetched
            .name
            .as_ref()
            .map_or_else(|| digest.clone(), Reference::to_string);
        let store = self.store.clone();
        let (before, record) = {
            let name = name.clone();
            blocking(move || {
                let before = store.inspect_own(&name).ok();
                Ok((before, store.commit_fetched(fetched)?))
            })
            .await?
        };
        Ok(TransferResult {
            up_to_date: before
                .is_some_and(|before| before.id == record.id && before.digests.contains(&digest)),
            image: Some((&record).into()),
            name,
            digest: named.digest.to_string(),
            size: named.bytes.len() as u64,
        })
    }

    /// Goes from what a name stands for to the manifest for a platform, and
    /// its configuration.
    async fn resolve(
        &self,
        repository: &Repository<'_>,
        named: &Document,
        wanted: &Platform,
    ) -> Result<(Document, Manifest, Descriptor), Error> {
        let mut document = named.clone();
        for _ in 0..MAX_DEPTH {
            let manifest: Manifest = serde_json::from_slice(&document.bytes).map_err(|error| {
                repository.session.dishonest(&format!(
                    "the manifest {} cannot be read: {error}",
                    document.digest
                ))
            })?;
            if manifest.schema_version == 1
                || document.media_type.contains("manifest.v1+")
                    && document.media_type.contains("docker")
            {
                return Err(Error::NoImage(format!(
                    "{} has a manifest of the first version, which Docker gave up: have it pushed anew",
                    self.reference.familiar()
                )));
            }
            if let Some(config) = manifest.config.clone() {
                if !CONFIGURATIONS.contains(&config.media_type.as_str()) {
                    return Err(Error::NoImage(format!(
                        "{} is no image: its configuration is {}",
                        self.reference.familiar(),
                        config.media_type
                    )));
                }
                return Ok((document, manifest, config));
            }
            let entry = choose(&manifest.manifests, wanted).map_err(|found| {
                image::Error::NoMatchingPlatform {
                    image: self.reference.familiar(),
                    wanted: wanted.to_string(),
                    found,
                }
            })?;
            let next = repository.manifest(&entry.digest).await?.ok_or_else(|| {
                repository.session.dishonest(&format!(
                    "its index names the manifest {}, which it does not have",
                    entry.digest
                ))
            })?;
            repository.check("a manifest", entry, next.digest, next.bytes.len() as u64)?;
            document = next;
        }
        Err(repository
            .session
            .dishonest("its indexes are nested too deep"))
    }
}

/// Finds what a name stands for in a registry.
///
/// # Errors
///
/// [`Error::NotFound`], those of the registry.
pub(super) async fn find(
    access: &Access,
    endpoint: &Endpoint,
    reference: &Reference,
) -> Result<(Session, Document), Error> {
    let scope = Scope {
        repository: reference.path().to_owned(),
        actions: "pull",
        sources: Vec::new(),
    };
    let session = Session::open(access, endpoint, scope).await?;
    let repository = Repository {
        session: &session,
        path: reference.path(),
    };
    let wanted = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    };
    match repository.manifest(&wanted).await? {
        Some(document) => Ok((session, document)),
        None => Err(Error::NotFound {
            registry: endpoint.registry.clone(),
            what: reference.familiar(),
            hint: if endpoint.credential.is_none() {
                ", or is private and needs `wherry login`"
            } else {
                ""
            },
        }),
    }
}

/// Runs work on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Internal(error.to_string()))?
}
