//! The benchmarks, which live with the end-to-end tests.

use std::path::PathBuf;

use crate::build::{self, cargo_command};
use crate::{guest, setup};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure only what has this name.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Builds everything and measures it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::install(setup::BUILD)?;
    setup::install(setup::RUN)?;
    build::all()?;
    let bare = guest::build_bare_init()?;
    let mut command = cargo_command(&[
        "run",
        "--release",
        "-q",
        "-p",
        "wherry-tests",
        "--bin",
        "bench",
        "--",
    ]);
    command
        .env("WHERRY_PROGRAMS", build::release_folder())
        .env("WHERRY_BARE_INIT", bare);
    if let Some(file) = &options.json {
        command.arg("--json").arg(std::path::absolute(file)?);
    }
    if let Some(name) = &options.only {
        command.args(["--only", name]);
    }
    build::run(command)
}
