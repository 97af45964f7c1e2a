//! Manifests and blobs of one repository.

use reqwest::header::{self, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::sync::mpsc;

use super::Error;
use super::session::{Session, pause_before};
use crate::image::{Descriptor, Digest, MAX_JSON};

/// Everything that can be a manifest of an image, or an index of them.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// Connections that may break one after the other without bringing a byte.
const BREAKS: u32 = 5;

/// A document as it came, and its digest.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

/// One repository of a registry that answers.
pub(super) struct Repository<'a> {
    pub(super) session: &'a Session,
    pub(super) path: &'a str,
}

impl Repository<'_> {
    /// Fetches a manifest or index by tag or digest; `None` where it is not there.
    pub(super) async fn manifest(&self, reference: &str) -> Result<Option<Document>, Error> {
        let path = format!("v2/{}/manifests/{reference}", self.path);
        let mut request = self.session.request(Method::GET, &path)?;
        request
            .headers
            .insert(header::ACCEPT, HeaderValue::from_static(MANIFESTS));
        let response = self.session.send(&request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.session.refusal(&request, response).await),
        }
        let text = |name| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let claimed = text("docker-content-digest");
        let media_type = text("content-type").unwrap_or_default();
        let bytes = self.session.body(response, limit(), "a manifest").await?;
        let digest = Digest::of(&bytes);
        let asked = reference.parse::<Digest>().ok();
        let claimed = claimed.and_then(|claimed| claimed.parse().ok());
        for expected in asked.into_iter().chain(claimed) {
            if expected != digest {
                return Err(self.session.dishonest(&format!(
                    "the manifest {expected} that it sends has the digest {digest}"
                )));
            }
        }
        Ok(Some(Document {
            digest,
            media_type,
            bytes,
        }))
    }

    /// Fetches a small blob whole.
    pub(super) async fn document(
        &self,
        descriptor: &Descriptor,
        what: &str,
    ) -> Result<Vec<u8>, Error> {
        let digest = self.digest(descriptor)?;
        if descriptor.size > MAX_JSON {
            return Err(self.session.dishonest(&format!(
                "{what} claims {} bytes, and may have {MAX_JSON}",
                descriptor.size
            )));
        }
        let request = self.blob_request(digest)?;
        let response = self.session.expect(&request, &[StatusCode::OK]).await?;
        let bytes = self.session.body(response, limit(), what).await?;
        self.check(what, descriptor, Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Fetches a blob piece by piece. A connection that breaks is made again
    /// from where it broke. Ends early, and well, where nobody takes the pieces.
    pub(super) async fn download(
        &self,
        descriptor: &Descriptor,
        sender: &mpsc::Sender<bytes::Bytes>,
        progress: &(dyn Fn(Download) + Send + Sync),
    ) -> Result<(), Error> {
        let digest = self.digest(descriptor)?;
        let size = descriptor.size;
        let mut received = 0;
        let mut breaks = 0;
        loop {
            let before = received;
            match self
                .receive(digest, size, &mut received, sender, progress)
                .await
            {
                Ok(()) => return Ok(()),
                Err(error @ Error::Unreachable { .. }) => {
                    breaks = if received > before { 1 } else { breaks + 1 };
                    if breaks >= BREAKS {
                        return Err(error);
                    }
                    progress(Download::Broken);
                    tokio::time::sleep(pause_before(breaks)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn receive(
        &self,
        digest: Digest,
        size: u64,
        received: &mut u64,
        sender: &mpsc::Sender<bytes::Bytes>,
        progress: &(dyn Fn(Download) + Send + Sync),
    ) -> Result<(), Error> {
        let mut request = self.blob_request(digest)?;
        if *received > 0
            && *received < size
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={received}-"))
        {
            request.headers.insert(header::RANGE, range);
        }
        let statuses = [StatusCode::OK, StatusCode::PARTIAL_CONTENT];
        let mut response = self.session.expect(&request, &statuses).await?;
        // Not every registry goes on in the middle.
        let mut skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let begins = format!("bytes {received}-");
                let range = response.headers().get(header::CONTENT_RANGE);
                let fits = range
                    .and_then(|range| range.to_str().ok())
                    .is_some_and(|range| range.starts_with(&begins));
                if !fits {
                    return Err(self
                        .session
                        .dishonest("it sends another part of a layer than it was asked for"));
                }
                0
            }
            _ => *received,
        };
        loop {
            let chunk = response
                .chunk()
                .await
                .map_err(|error| self.session.unreachable(&super::answer::reason(&error)))?;
            let Some(mut chunk) = chunk else { break };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            let _ = chunk.split_to(skipped);
            skip -= skipped as u64;
            if chunk.is_empty() {
                continue;
            }
            *received += chunk.len() as u64;
            if *received > size {
                return Err(self.session.dishonest(&format!(
                    "the blob {digest} is longer than the {size} bytes that the manifest says"
                )));
            }
            progress(Download::Received(*received));
            if sender.send(chunk).await.is_err() {
                return Ok(());
            }
        }
        if *received < size {
            return Err(self.session.dishonest(&format!(
                "the blob {digest} ends after {received} of {size} bytes"
            )));
        }
        Ok(())
    }

    /// Holds a blob to its descriptor.
    pub(super) fn check(
        &self,
        what: &str,
        descriptor: &Descriptor,
        digest: Digest,
        size: u64,
    ) -> Result<(), Error> {
        if digest.to_string() != descriptor.digest {
            return Err(self.session.dishonest(&format!(
                "{what} should be {} and is {digest}",
                descriptor.digest
            )));
        }
        if size != descriptor.size {
            return Err(self.session.dishonest(&format!(
                "{what} should have {} bytes and has {size}",
                descriptor.size
            )));
        }
        Ok(())
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Digest, Error> {
        descriptor
            .digest
            .parse()
            .map_err(|reason: String| self.session.dishonest(&reason))
    }

    fn blob_request(&self, digest: Digest) -> Result<super::session::Request, Error> {
        let path = format!("v2/{}/blobs/{digest}", self.path);
        self.session.request(Method::GET, &path)
    }
}

/// How a download goes.
pub(super) enum Download {
    /// So many bytes are here.
    Received(u64),
    /// The connection broke and is made again.
    Broken,
}

fn limit() -> usize {
    usize::try_from(MAX_JSON).unwrap_or(usize::MAX)
}
