//! The layers of a pull: fetched side by side, straight into the unpacker.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use wherry_proto::v1::layer_progress::Stage;

use super::Error;
use super::pull::{Pull, blocking};
use super::repository::{Download, Repository};
use crate::image::{Descriptor, Digest, LayerRecord};

/// Layers of one pull that download at the same time, as in Docker.
const PARALLEL: usize = 3;
/// Pieces between a download and the unpacking.
const PIECES: usize = 16;
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

impl Pull {
    /// Fetches the layers, a few at a time, in their order.
    pub(super) async fn layers(
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
