//! Compiles the guest's tiny programs, which need neither libc nor a toolchain
//! beyond `rustc` and the linker it already uses.

use std::fs;
use std::path::Path;

use crate::Architecture;
use crate::command::{program, run};
use crate::error::{OnPath, Result};

const RAW: &str = include_str!("../programs/raw.rs");

/// The program of the built-in image.
pub(crate) const HELLO: &str = include_str!("../programs/hello.rs");

/// The init of the cold-start benchmark.
pub(crate) const BARE_INIT: &str = include_str!("../programs/bare-init.rs");

/// Compiles one program to a static executable and returns its bytes.
pub(crate) fn compile(source: &str, architecture: Architecture) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir().on("create a folder in", Path::new("the temporary folder"))?;
    for (name, text) in [("raw.rs", RAW), ("main.rs", source)] {
        let path = folder.path().join(name);
        fs::write(&path, text).on("write", &path)?;
    }
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let mut command = program(&compiler);
    command.current_dir(folder.path()).args([
        "--edition=2024",
        "--crate-name=main",
        "-Cpanic=abort",
        "-Copt-level=s",
        "-Crelocation-model=static",
        "-Cstrip=symbols",
        "-Clink-arg=-nostartfiles",
        "-Clink-arg=-nostdlib",
        "-Clink-arg=-static",
        "-Clink-arg=-no-pie",
        "-Clink-arg=-Wl,--build-id=none,-z,noseparate-code",
        "-omain",
    ]);
    if architecture.name() != std::env::consts::ARCH {
        command.arg(format!(
            "--target={}-unknown-linux-gnu",
            architecture.name()
        ));
    }
    run(command.arg("main.rs"), "compiles a program of the guest")?;
    let path = folder.path().join("main");
    fs::read(&path).on("read", &path)
}
