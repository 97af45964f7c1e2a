//! Pulls and pushes as they go on: a bar for each layer on a terminal.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tonic::Streaming;
use wherry_proto::v1::layer_progress::Stage;
use wherry_proto::v1::transfer_event::Event;
use wherry_proto::v1::{LayerProgress, TransferEvent, TransferResult};

use crate::failure::Failure;
use crate::output;

const MOVING: &str = "{prefix}: {msg} [{bar:32}] {bytes}/{total_bytes}";
const RESTING: &str = "{prefix}: {msg}";

/// The bars of a transfer, on standard error; none in a pipe.
pub(super) struct Bars {
    all: MultiProgress,
    layers: Mutex<HashMap<String, ProgressBar>>,
    quiet: bool,
}

impl Bars {
    pub(super) fn new(quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        Self {
            all: MultiProgress::with_draw_target(target),
            layers: Mutex::default(),
            quiet,
        }
    }

    fn layer(&self, layer: &LayerProgress) {
        let Ok(mut layers) = self.layers.lock() else {
            return;
        };
        let bar = layers.entry(layer.id.clone()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(layer.total));
            bar.set_prefix(layer.id.clone());
            bar
        });
        let (words, moves, ended) = stage(layer.stage());
        let template = if moves { MOVING } else { RESTING };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(words);
        bar.set_position(layer.current);
        if ended {
            bar.abandon();
        }
    }

    fn message(&self, message: &str) {
        if !self.quiet {
            self.all.suspend(|| output::complain(message));
        }
    }
}

/// Docker's words for a stage, and whether a bar moves in it, and whether it is
/// the last.
fn stage(stage: Stage) -> (&'static str, bool, bool) {
    match stage {
        Stage::Unspecified | Stage::Waiting => ("Waiting", false, false),
        Stage::Downloading => ("Downloading", true, false),
        Stage::Extracting => ("Extracting", false, false),
        Stage::Pulled => ("Pull complete", false, true),
        Stage::AlreadyExists => ("Already exists", false, true),
        Stage::Preparing => ("Preparing", false, false),
        Stage::Pushing => ("Pushing", true, false),
        Stage::Pushed => ("Pushed", false, true),
        Stage::Mounted => ("Mounted", false, true),
        Stage::Retrying => ("Retrying", false, false),
    }
}

/// Shows a transfer until it ends; returns what came of it.
pub(super) async fn watch(
    mut events: Streaming<TransferEvent>,
    bars: &Bars,
) -> Result<TransferResult, Failure> {
    let mut result = None;
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Layer(layer)) => bars.layer(&layer),
            Some(Event::Message(message)) => bars.message(&message),
            Some(Event::Result(end)) => result = Some(end),
            None => {}
        }
    }
    result.ok_or_else(|| Failure::new("the machine did not tell what came of it"))
}
