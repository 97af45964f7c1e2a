//! Checks that the host crates compile for the systems they are meant for.

use std::process::Command;
use std::time::Instant;

use anyhow::Context;

use crate::build::{cargo_command, run, target_folder};
use crate::setup;

const TARGETS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-pc-windows-gnu"];

/// The crates that run on the user's own system.
const HOST_CRATES: [&str; 5] = [
    "wherry",
    "wherry-client",
    "wherry-engine",
    "wherry-proto",
    "wherry-vsock",
];

/// Checks the host crates for macOS and Windows.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let rustup = installed_targets();
    for target in TARGETS {
        let begun = Instant::now();
        eprintln!("Checking the host crates for {target}");
        let mut arguments = vec!["check", "--target", target];
        for name in HOST_CRATES {
            arguments.extend(["-p", name]);
        }
        let command = if rustup.iter().any(|installed| installed == target) {
            cargo_command(&arguments)
        } else {
            setup::install(setup::TARGETS)?;
            with_built_library(&arguments)
        };
        run(command).with_context(|| format!("the host crates do not compile for {target}"))?;
        eprintln!("{target}: ok in {:.0} s", begun.elapsed().as_secs_f32());
    }
    Ok(())
}

fn installed_targets() -> Vec<String> {
    let output = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Debian's compiler comes with the source of its standard library, so cargo
/// builds that too where no compiled one can be had.
fn with_built_library(arguments: &[&str]) -> Command {
    let mut command = cargo_command(arguments);
    command
        .arg("-Zbuild-std")
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTUP_TOOLCHAIN")
        // Its own folder: another compiler would make cargo build all anew.
        .env("CARGO_TARGET_DIR", target_folder().join("other-systems"));
    command
}
