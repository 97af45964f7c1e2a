//! Checks that the host crates compile for the systems they are meant for.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;

use crate::build::{cargo_command, run, target_folder};
use crate::setup;

const MACOS: &str = "aarch64-apple-darwin";
const TARGETS: [&str; 2] = [MACOS, "x86_64-pc-windows-gnu"];

/// In place of a C compiler for macOS, which Debian has not: a check links nothing, so
/// that what crates have in C may be empty objects. Asked what it is, it says so.
const WITHOUT_OBJECTS: &str = r#"#!/bin/sh
for argument in "$@"; do
    case "$argument" in -E) exec cc -E "$2" ;; esac
done
while [ $# -gt 0 ]; do
    case "$1" in
        -o) : > "$2"; exit ;;
        -o*) : > "${1#-o}"; exit ;;
    esac
    shift
done
# Not asked to make anything: whether it is of yet another kind.
exit 1
"#;

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
            let mut command = with_built_library(&arguments);
            if target == MACOS {
                command.env("CC_aarch64_apple_darwin", without_objects()?);
            }
            command
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

/// Writes the stand-in for a C compiler and returns its path.
fn without_objects() -> anyhow::Result<PathBuf> {
    let folder = target_folder().join("other-systems");
    fs::create_dir_all(&folder)?;
    let path = folder.join("cc-without-objects");
    fs::write(&path, WITHOUT_OBJECTS)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(path)
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
