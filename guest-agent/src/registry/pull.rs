//! Pulling one image.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use wherry_proto::v1::TransferResult;
use wherry_proto::v1::layer_progress::Stage;

use super::access::Endpoint;
use super::progress::Progress;
use super::repository::{Document, Download, Repository};
use super::session::{Scope, Session};
use super::{Access, Error};
use crate::image::{
    self, Descriptor, Digest, FetchedImage, LayerRecord, Manifest, Platform, Reference, Store,
    choose, summary,
};

/// Layers of one pull that download at the same time, as in Docker.
const PARALLEL: usize = 3;
/// Pieces between a download and the unpacking.
const PIECES: usize = 16;
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

/// One layer is fetched once, whoever wants it.
#[derive(Default)]
pub(super) struct LayerLocks(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

impl LayerLocks {
    fn of(&self, diff_id: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&diff_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(diff_id, Arc::downgrade(&lock));
        lock
    }
}

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
fn is_of_the_registry(error: &Error) -> bool {
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
        let (session, named) = self.find(endpoint).await?;
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

    /// Finds what the name stands for.
    async fn find(&self, endpoint: &Endpoint) -> Result<(Session, Document), Error> {
        let scope = Scope {
            repository: self.reference.path().to_owned(),
            actions: "pull",
            sources: Vec::new(),
        };
        let session = Session::open(&self.access, endpoint, scope).await?;
        let repository = Repository {
            session: &session,
            path: self.reference.path(),
        };
        let wanted = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_owned(),
            (None, None) => "latest".to_owned(),
        };
        match repository.manifest(&wanted).await? {
            Some(document) => Ok((session, document)),
            None => Err(Error::NotFound {
                registry: endpoint.registry.clone(),
                what: self.reference.familiar(),
                hint: if endpoint.credential.is_none() {
                    ", or is private and needs `wherry login`"
                } else {
                    ""
                },
            }),
        }
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

    /// Fetches the layers, a few at a time, in their order.
    async fn layers(
        &self,
        repository: &Repository<'_>,
        descriptors: &[Descriptor],
        diff_ids: &[Digest],
    ) -> Result<Vec<LayerRecord>, Error> {
        self.progress.layers(
            descriptors
                .iter()
                .map(|descriptor| (short(&descriptor.digest), descriptor.size)),
        );
        let pairs = descriptors.iter().zip(diff_ids).enumerate();
        let layers: Vec<_> = pairs
            .map(|(index, (descriptor, diff_id))| {
                self.layer(repository, index, descriptor, *diff_id)
            })
            .collect();
        futures_util::stream::iter(layers)
            .buffered(PARALLEL)
            .try_collect()
            .await
    }

    /// Finds a layer, or fetches it.
    async fn layer(
        &self,
        repository: &Repository<'_>,
        index: usize,
        descriptor: &Descriptor,
        diff_id: Digest,
    ) -> Result<LayerRecord, Error> {
        let lock = self.locks.of(diff_id);
        let _mine = lock.lock().await;
        let store = self.store.clone();
        if let Some(layer) = blocking(move || Ok(store.find_layer(&diff_id))).await? {
            self.progress.layer(index, Stage::AlreadyExists, 0);
            return Ok(layer);
        }
        self.fetch_layer(repository, index, descriptor, diff_id)
            .await
    }

    /// Fetches a layer, straight into the unpacker.
    async fn fetch_layer(
        &self,
        repository: &Repository<'_>,
        index: usize,
        descriptor: &Descriptor,
        diff_id: Digest,
    ) -> Result<LayerRecord, Error> {
        let (sender, receiver) = mpsc::channel(PIECES);
        let name = short(&descriptor.digest);
        let unpacking = {
            let store = self.store.clone();
            let name = name.clone();
            blocking(move || Ok(store.fetch_layer(Pieces::new(receiver), &name)?))
        };
        let downloading = async {
            self.progress.layer(index, Stage::Downloading, 0);
            let progress = self.progress.clone();
            let report = move |download| match download {
                Download::Received(current) => {
                    progress.layer(index, Stage::Downloading, current);
                }
                Download::Broken => progress.layer(index, Stage::Retrying, 0),
            };
            let outcome = repository.download(descriptor, &sender, &report).await;
            if outcome.is_ok() {
                self.progress
                    .layer(index, Stage::Extracting, descriptor.size);
                // Says that this is the end: a pull that is dropped says nothing.
                let _ = sender.send(Bytes::new()).await;
            }
            drop(sender);
            outcome
        };
        let (unpacked, downloaded) = tokio::join!(unpacking, downloading);
        // What broke the download says more than the unpacker, which starved.
        downloaded?;
        let layer = unpacked?;
        let (digest, size) = layer.packed();
        repository.check(&format!("the layer {name}"), descriptor, digest, size)?;
        if layer.diff_id() != diff_id {
            return Err(repository.session.dishonest(&format!(
                "the layer {name} should be {diff_id} when it is unpacked and is {}",
                layer.diff_id()
            )));
        }
        let store = self.store.clone();
        let record = blocking(move || Ok(store.keep_fetched(&layer)?)).await?;
        self.progress.layer(index, Stage::Pulled, descriptor.size);
        Ok(record)
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

/// The first twelve digits of a digest, whatever it is.
pub(super) fn short(digest: &str) -> String {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    digits.chars().take(12).collect()
}

/// A download as the unpacker reads it; an empty piece is its end.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    present: Bytes,
    ended: bool,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Bytes>) -> Pieces {
        Pieces {
            receiver,
            present: Bytes::new(),
            ended: false,
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.present.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(piece) => {
                    self.ended = piece.is_empty();
                    self.present = piece;
                }
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = self.present.len().min(buffer.len());
        self.present.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
