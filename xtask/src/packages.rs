//! Root file systems out of Debian's packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Debian's release that the packages are of.
pub(crate) const RELEASE: &str = "bookworm";

/// Unpacks packages, separated by commas, and what they depend on into one tar
/// archive. Their installation scripts do not run.
///
/// # Errors
///
/// Where `mmdebstrap` fails, with what it printed.
pub(crate) fn unpack(packages: &str, output: &Path) -> anyhow::Result<()> {
    let result = Command::new("mmdebstrap")
        .arg("--quiet")
        .arg("--variant=extract")
        .arg(format!("--include={packages}"))
        .args([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
        ])
        .arg(RELEASE)
        .arg(output)
        .output()
        .context("cannot run mmdebstrap")?;
    if !result.status.success() {
        bail!(
            "cannot make a root file system of Debian's {packages}:\n{}",
            String::from_utf8_lossy(&result.stderr)
        );
    }
    Ok(())
}
