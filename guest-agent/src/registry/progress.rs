//! How far a transfer is, for any number of clients that come and go.

use tokio::sync::watch;
use wherry_proto::v1::layer_progress::Stage;
use wherry_proto::v1::{LayerProgress, TransferResult};

/// Where a transfer is. A client gets what changed since it last looked.
#[derive(Clone, Default)]
pub(super) struct State {
    /// The layers, lowest first.
    pub(super) layers: Vec<LayerProgress>,
    /// For the user.
    pub(super) messages: Vec<String>,
    pub(super) end: Option<Result<TransferResult, tonic::Status>>,
}

/// The writing side.
#[derive(Clone)]
pub(super) struct Progress(std::sync::Arc<watch::Sender<State>>);

impl Progress {
    pub(super) fn new() -> (Progress, watch::Receiver<State>) {
        let (sender, receiver) = watch::channel(State::default());
        (Progress(std::sync::Arc::new(sender)), receiver)
    }

    /// Names the layers; none moves yet.
    pub(super) fn layers(&self, ids: impl Iterator<Item = (String, u64)>) {
        let layers = ids
            .map(|(id, total)| LayerProgress {
                id,
                stage: Stage::Waiting.into(),
                current: 0,
                total,
            })
            .collect();
        self.0.send_modify(|state| state.layers = layers);
    }

    /// Tells where the layer of this index is.
    pub(super) fn layer(&self, index: usize, stage: Stage, current: u64) {
        self.0.send_if_modified(|state| {
            let Some(layer) = state.layers.get_mut(index) else {
                return false;
            };
            layer.stage = stage.into();
            layer.current = current;
            true
        });
    }

    /// Tells the user something.
    pub(super) fn message(&self, message: String) {
        self.0.send_modify(|state| state.messages.push(message));
    }

    /// Tells how it ended.
    pub(super) fn end(&self, end: Result<TransferResult, tonic::Status>) {
        self.0.send_modify(|state| state.end = Some(end));
    }
}
