//! The guest image, and the comparator of the cold-start benchmark.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use wherry_linuxkit::{Architecture, Options, Progress};

use crate::build::{self, release_folder, workspace};

/// Builds the agent and the guest image into `target/release/guest`.
pub(crate) fn build() -> anyhow::Result<()> {
    let agent_binary = build::agent()?;
    let display = Display::default();
    wherry_linuxkit::build(
        &Options {
            yml: workspace().join("linuxkit/wherry.yml"),
            agent_binary,
            architecture: host()?,
            cache: Some(wherry_linuxkit::default_cache()),
            output_dir: release_folder().join("guest"),
        },
        &display,
    )?;
    display.finish();
    Ok(())
}

/// Builds the initramfs whose init prints a line, and returns its path.
pub(crate) fn build_bare_init() -> anyhow::Result<PathBuf> {
    let path = release_folder().join("guest/bare-initramfs");
    wherry_linuxkit::build_bare_init(host()?, &path)?;
    Ok(path)
}

/// A bar on a terminal; in a pipe, one line a step.
#[derive(Default)]
struct Display(Mutex<Option<ProgressBar>>);

impl Display {
    fn finish(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn bar(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Progress for Display {
    fn step(&self, what: &str) {
        self.finish();
        let bar = ProgressBar::new(0).with_message(what.to_owned());
        if bar.is_hidden() {
            eprintln!("{what}");
        }
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent}% {elapsed}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        *self.bar() = Some(bar);
    }

    fn advance(&self, done: u64, total: u64) {
        if let Some(bar) = self.bar().as_ref() {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

fn host() -> anyhow::Result<Architecture> {
    Architecture::host()
        .with_context(|| format!("no guest can be built on {}", std::env::consts::ARCH))
}
