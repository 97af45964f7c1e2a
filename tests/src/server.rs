//! The server inside containers that published ports are tried on.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::{Engine, archive};

/// The image that has nothing but the server.
pub const IMAGE: &str = "test/server:latest";

/// Compiles the server and makes an image of it, [`IMAGE`], whose only program is
/// `/server`.
///
/// # Errors
///
/// Where it does not compile or the import fails.
pub fn import(engine: &Engine) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("server");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/main.rs");
    let status = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
        ])
        .args([Path::new("-o"), &program, &source])
        .status()?;
    ensure!(status.success(), "{} does not compile", source.display());
    let mut root = tar::Builder::new(Vec::new());
    archive::append(&mut root, "server", &std::fs::read(program)?, 0o755)?;
    let ran = engine.run_with_input(&["import", "-", IMAGE], &root.into_inner()?)?;
    ensure!(ran.code == 0, "import failed: {ran:?}");
    Ok(())
}
