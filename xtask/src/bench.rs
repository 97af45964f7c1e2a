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
    setup::install(setup::BENCH)?;
    // Docker's engine is a comparator.
    let docker = root("docker", "docker.io,busybox-static")?;
    let load = root("load", "nginx-light,iperf3,busybox-static")?;
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
        .env("WHERRY_DOCKER_ROOT", docker)
        .env("WHERRY_LOAD_ROOT", load);
    if let Some(file) = &options.json {
        command.arg("--json").arg(std::path::absolute(file)?);
    }
    if let Some(name) = &options.only {
        command.args(["--only", name]);
    }
    build::run(command)
}

/// Returns a root file system of Debian's packages, which some figures need.
fn root(name: &str, packages: &str) -> anyhow::Result<PathBuf> {
    let folder = default_cache().join("bench");
    let path = folder.join(format!("{name}-{}.tar", packages::RELEASE));
    if !path.exists() {
        eprintln!("Unpacking Debian's {packages}");
        std::fs::create_dir_all(&folder)?;
        let partial = folder.join(format!("{name}-{}.partial.tar", std::process::id()));
        packages::unpack(packages, &partial)?;
        std::fs::rename(&partial, &path)?;
    }
    Ok(path)
}
