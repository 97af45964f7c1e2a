//! Pushing one image.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, StatusCode};
use wherry_proto::v1::TransferResult;
use wherry_proto::v1::layer_progress::Stage;

use super::access::Endpoint;
use super::progress::Progress;
use super::pull::blocking;
use super::session::{Body, Scope, Session};
use super::upload::Upload;
use super::{Access, Error};
use crate::image::{
    CONFIG, Descriptor, Digest, ImageRecord, KnownLayer, LAYER, MANIFEST, Manifest, Reference,
    Store,
};

/// Layers that are packed and sent at the same time.
const PARALLEL: usize = 3;
/// Repositories that one token is asked for: the request is a URL.
const MAX_SOURCES: usize = 10;

/// What to push.
pub(super) struct Push {
    pub(super) store: Arc<Store>,
    pub(super) access: Access,
    pub(super) reference: Reference,
    pub(super) progress: Progress,
}

/// Pushes an image: layers, configuration, and then the manifest that makes it
/// visible.
pub(super) async fn push(push: &Push) -> Result<TransferResult, Error> {
    let record = push.find().await?;
    let endpoint = push.access.endpoint(push.reference.domain())?;
    push.send(&endpoint, record).await
}

impl Push {
    async fn find(&self) -> Result<ImageRecord, Error> {
        let store = self.store.clone();
        let reference = self.reference.clone();
        if reference.digest().is_some() {
            return Err(Error::Invalid("cannot push a digest reference".to_owned()));
        }
        blocking(move || {
            let missing = |_| {
                Error::Missing(format!(
                    "An image does not exist locally with the tag: {}; give one that name with `wherry tag IMAGE {}`",
                    reference.familiar_repository(),
                    reference.familiar()
                ))
            };
            store.inspect_own(&reference.to_string()).map_err(missing)
        })
        .await
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        record: ImageRecord,
    ) -> Result<TransferResult, Error> {
        let diff_ids: Vec<Digest> = record.layers.iter().map(|layer| layer.diff_id).collect();
        let _pins = self.store.pin(diff_ids.clone());
        let (store, of_image) = (self.store.clone(), record.clone());
        let (configuration, stored, layers) = blocking(move || {
            let layers = diff_ids.iter().map(|diff_id| Layer::find(&store, *diff_id));
            let layers = layers.collect::<Result<Vec<_>, Error>>()?;
            let configuration = store.configuration(&of_image)?;
            Ok((configuration, store.manifest(&of_image).ok(), layers))
        })
        .await?;
        let session = Session::open(&self.access, endpoint, self.scope(&layers)).await?;
        let repository = Destination {
            session: &session,
            path: self.reference.path(),
        };
        self.progress.layers(
            layers
                .iter()
                .map(|layer| (layer.diff_id.short(), layer.length)),
        );
        let sent: Vec<_> = layers
            .iter()
            .enumerate()
            .map(|(index, layer)| self.layer(&repository, index, layer))
            .collect();
        let descriptors: Vec<Descriptor> = futures_util::stream::iter(sent)
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        repository.document(record.id, &configuration).await?;
        let (media_type, manifest) = match stored {
            Some((bytes, stored)) if is_of(&stored, &descriptors) => {
                let media_type = Some(stored.media_type).filter(|kind| !kind.is_empty());
                (media_type.unwrap_or_else(|| MANIFEST.to_owned()), bytes)
            }
            _ => {
                let bytes = manifest(record.id, configuration.len() as u64, descriptors)?;
                (MANIFEST.to_owned(), bytes)
            }
        };
        let tag = self.reference.tag().unwrap_or("latest");
        repository.manifest(tag, &media_type, &manifest).await?;
        self.record(record.id, manifest).await
    }

    /// Writes down what the registry has now.
    async fn record(&self, id: Digest, manifest: Vec<u8>) -> Result<TransferResult, Error> {
        let digest = Digest::of(&manifest);
        let size = manifest.len() as u64;
        let (store, canonical) = (self.store.clone(), self.reference.canonical(&digest));
        let image = blocking(move || {
            store.record_push(&id, &canonical, &manifest)?;
            Ok(store.inspect_own(&id.to_string()).ok())
        })
        .await?;
        Ok(TransferResult {
            image: image.as_ref().map(Into::into),
            name: self.reference.to_string(),
            digest: digest.to_string(),
            up_to_date: false,
            size,
        })
    }

    fn scope(&self, layers: &[Layer]) -> Scope {
        let mut sources: Vec<String> = Vec::new();
        for source in layers.iter().flat_map(|layer| self.sources(&layer.known)) {
            if !sources.contains(&source) && sources.len() < MAX_SOURCES {
                sources.push(source);
            }
        }
        Scope {
            repository: self.reference.path().to_owned(),
            actions: "pull,push",
            sources,
        }
    }

    /// Returns the other repositories of the same registry that have a layer.
    fn sources(&self, known: &[KnownLayer]) -> Vec<String> {
        let here = format!("{}/", self.reference.domain());
        let repositories = known.iter().flat_map(|known| &known.repositories);
        repositories
            .filter_map(|repository| repository.strip_prefix(&here))
            .filter(|path| *path != self.reference.path())
            .map(str::to_owned)
            .collect()
    }

    /// Sees to it that the registry has a layer, in some packed form.
    async fn layer(
        &self,
        repository: &Destination<'_>,
        index: usize,
        layer: &Layer,
    ) -> Result<Descriptor, Error> {
        self.progress.layer(index, Stage::Preparing, 0);
        for known in &layer.known {
            let Ok(digest) = known.descriptor.digest.parse::<Digest>() else {
                continue;
            };
            if repository.has(digest).await? {
                self.progress
                    .layer(index, Stage::AlreadyExists, layer.length);
                return Ok(described(known));
            }
            for source in self.sources(std::slice::from_ref(known)) {
                if repository.mount(digest, &source).await? {
                    self.progress.layer(index, Stage::Mounted, layer.length);
                    return Ok(described(known));
                }
            }
        }
        let progress = self.progress.clone();
        let total = layer.length;
        let upload = Upload {
            session: repository.session,
            path: repository.path,
            store: self.store.clone(),
            diff_id: layer.diff_id,
            report: Arc::new(move |sent| progress.layer(index, Stage::Pushing, sent)),
        };
        let descriptor = upload.run().await?;
        self.progress.layer(index, Stage::Pushed, total);
        Ok(descriptor)
    }
}

/// A layer of the image.
struct Layer {
    diff_id: Digest,
    /// Bytes of its tar.
    length: u64,
    known: Vec<KnownLayer>,
}

impl Layer {
    fn find(store: &Store, diff_id: Digest) -> Result<Layer, Error> {
        Ok(Layer {
            diff_id,
            length: store.layer_tar(&diff_id)?.length,
            known: store.known_layers(&diff_id),
        })
    }
}

/// The repository that is pushed to.
struct Destination<'a> {
    session: &'a Session,
    path: &'a str,
}

impl Destination<'_> {
    /// distribution-spec, "Checking if content exists in the registry".
    async fn has(&self, digest: Digest) -> Result<bool, Error> {
        let path = format!("v2/{}/blobs/{digest}", self.path);
        let request = self.session.request(Method::HEAD, &path)?;
        let response = self.session.send(&request).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.session.refusal(&request, response).await),
        }
    }

    /// distribution-spec, "Mounting a blob from another repository". A registry
    /// that does not want to begins an upload instead, which is forgotten.
    async fn mount(&self, digest: Digest, source: &str) -> Result<bool, Error> {
        let path = format!(
            "v2/{}/blobs/uploads/?mount={digest}&from={source}",
            self.path
        );
        let request = self.session.request(Method::POST, &path)?;
        let response = self.session.send(&request).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        if let Some(location) = response.headers().get(header::LOCATION)
            && let Ok(url) = self.session.location(&request.url, location)
        {
            let mut cancel = self.session.request(Method::DELETE, "")?;
            cancel.url = url;
            // Registries forget uploads by themselves too.
            let _ = self.session.send(&cancel).await;
        }
        Ok(false)
    }

    /// Sends a small blob.
    async fn document(&self, digest: Digest, bytes: &[u8]) -> Result<(), Error> {
        if self.has(digest).await? {
            return Ok(());
        }
        let begin = format!("v2/{}/blobs/uploads/", self.path);
        let begin = self.session.request(Method::POST, &begin)?;
        let response = self.session.expect(&begin, &[StatusCode::ACCEPTED]).await?;
        let mut request = self.session.request(Method::PUT, "")?;
        request.url = super::upload::place(self.session, &begin, &response)?;
        request
            .url
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        request.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        request.body = Body::Bytes(bytes.to_vec());
        self.session
            .expect(&request, &[StatusCode::CREATED])
            .await?;
        Ok(())
    }

    /// distribution-spec, "Pushing Manifests".
    async fn manifest(&self, tag: &str, media_type: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = format!("v2/{}/manifests/{tag}", self.path);
        let mut request = self.session.request(Method::PUT, &path)?;
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| Error::Internal("a manifest without a media type".to_owned()))?;
        request.headers.insert(header::CONTENT_TYPE, media_type);
        request.body = Body::Bytes(bytes.to_vec());
        let accepted = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let response = self.session.expect(&request, &accepted).await?;
        let claimed = response.headers().get("docker-content-digest");
        let claimed = claimed.and_then(|claimed| claimed.to_str().ok()?.parse::<Digest>().ok());
        let digest = Digest::of(bytes);
        match claimed {
            Some(claimed) if claimed != digest => Err(self
                .session
                .dishonest(&format!("it took the manifest {digest} for {claimed}"))),
            _ => Ok(()),
        }
    }
}

/// Tells whether a manifest is of just these layers.
fn is_of(manifest: &Manifest, layers: &[Descriptor]) -> bool {
    let digests = |layers: &[Descriptor]| -> Vec<String> {
        layers.iter().map(|layer| layer.digest.clone()).collect()
    };
    !manifest.layers.is_empty() && digests(&manifest.layers) == digests(layers)
}

/// Describes a layer that the registry had, in OCI's words.
fn described(known: &KnownLayer) -> Descriptor {
    let kind = &known.descriptor.media_type;
    let media_type = if kind.ends_with("gzip") {
        format!("{LAYER}+gzip")
    } else if kind.ends_with("zstd") {
        format!("{LAYER}+zstd")
    } else {
        LAYER.to_owned()
    };
    Descriptor {
        media_type,
        digest: known.descriptor.digest.clone(),
        size: known.descriptor.size,
        ..Descriptor::default()
    }
}

fn manifest(id: Digest, size: u64, layers: Vec<Descriptor>) -> Result<Vec<u8>, Error> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: Some(Descriptor {
            media_type: CONFIG.to_owned(),
            digest: id.to_string(),
            size,
            ..Descriptor::default()
        }),
        layers,
        manifests: Vec::new(),
    };
    serde_json::to_vec(&manifest).map_err(|error| Error::Internal(error.to_string()))
}
