//! The benchmarks, which live with the end-to-end tests.

use std::path::PathBuf;

use wherry_linuxkit::default_cache;

use crate::build::{self, cargo_command};
use crate::{guest, packages, setup};

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
    let docker = docker_root()?;
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
        .env("WHERRY_BARE_INIT", bare)
        .env("WHERRY_DOCKER_ROOT", docker);
    if let Some(file) = &options.json {
        command.arg("--json").arg(std::path::absolute(file)?);
    }
    if let Some(name) = &options.only {
        command.args(["--only", name]);
    }
    build::run(command)
}

/// Returns a root file system with Docker's engine, which some figures have as
/// their comparator.
fn docker_root() -> anyhow::Result<PathBuf> {
    let folder = default_cache().join("bench");
    let path = folder.join(format!("docker-{}.tar", packages::RELEASE));
    if !path.exists() {
        eprintln!("Unpacking Debian's docker.io");
        std::fs::create_dir_all(&folder)?;
        let partial = folder.join(format!("docker-{}.partial.tar", std::process::id()));
        packages::unpack("docker.io,busybox-static", &partial)?;
        std::fs::rename(&partial, &path)?;
    }
    Ok(path)
}
