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
    make("extract", packages, &[], output)
}

/// Installs packages into a small Debian, with their users and configuration, as
/// one tar archive. Paths that match `without` are left out.
///
/// # Errors
///
/// As [`unpack`].
pub(crate) fn install(packages: &str, without: &[&str], output: &Path) -> anyhow::Result<()> {
    make("minbase", packages, without, output)
}

fn make(variant: &str, packages: &str, without: &[&str], output: &Path) -> anyhow::Result<()> {
    let never = [
        "/usr/share/doc/*",
        "/usr/share/man/*",
        "/usr/share/locale/*",
    ];
    let exclude = |path: &&str| format!("--dpkgopt=path-exclude={path}");
    let result = Command::new("mmdebstrap")
        .arg("--quiet")
        .arg(format!("--variant={variant}"))
        .arg(format!("--include={packages}"))
        .args(never.iter().map(exclude))
        .args(without.iter().map(exclude))
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
