//! Builds of the programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{guest, setup};

/// Builds `wherry`, `wherryd` and the guest image.
pub(crate) fn all() -> anyhow::Result<()> {
    setup::install(setup::BUILD)?;
    host()?;
    guest::build()
}

/// Builds `wherry` and `wherryd` into `target/release`.
pub(crate) fn host() -> anyhow::Result<()> {
    cargo(&["build", "--release", "-p", "wherry", "-p", "wherry-engine"])
}

/// Builds the agent as one static program and returns its path.
///
/// A target is named though it is the machine's own, so that static linking
/// applies to the agent and not to the build scripts.
pub(crate) fn agent() -> anyhow::Result<PathBuf> {
    let architecture = std::env::consts::ARCH;
    let target = format!("{architecture}-unknown-linux-gnu");
    let flags = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        target.to_uppercase().replace('-', "_")
    );
    let mut command = cargo_command(&[
        "build",
        "--release",
        "--target",
        &target,
        "-p",
        "wherry-guest-agent",
    ]);
    command
        .env(
            flags,
            "-C target-feature=+crt-static -C relocation-model=static",
        )
        .env("LIBSECCOMP_LINK_TYPE", "static")
        .env(
            "LIBSECCOMP_LIB_PATH",
            format!("/usr/lib/{architecture}-linux-gnu"),
        );
    run(command)?;
    Ok(target_folder().join(target).join("release/wherry-agent"))
}

/// Runs cargo in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    run(cargo_command(arguments))
}

pub(crate) fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo told this program of its own package is no input of other builds: build
    // scripts that look at it (ring's) would have all above them built again, each time
    // somebody goes from `cargo xtask` to `cargo` and back.
    command.args(arguments).current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command and fails if it does.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        bail!("{program} {} failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// The workspace's folder, of which cargo tells the programs that it runs.
pub(crate) fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(),
        PathBuf::from,
    );
    package
        .parent()
        .map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Cargo's folder for what it builds.
pub(crate) fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace().join(folder),
        None => workspace().join("target"),
    }
}

/// Where the release build lies.
pub(crate) fn release_folder() -> PathBuf {
    target_folder().join("release")
}
