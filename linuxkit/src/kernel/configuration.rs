//! The kernel's configuration: what is asked for, and the check that it survived.
//!
//! Kconfig drops without a word what has an unmet dependency or another name in
//! this version, so every line asked for is looked up in the result.

use std::path::Path;

use crate::error::{Error, Result};

/// Checks that every line of `wanted` holds in the kernel's `.config`.
///
/// # Errors
///
/// [`Error::KernelConfiguration`] with the lines that do not hold.
pub fn verify(file: &Path, wanted: &str, config: &str) -> Result<()> {
    let set: std::collections::HashSet<&str> = config.lines().collect();
    let lines: Vec<String> = wanted
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !holds(line, &set))
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(Error::KernelConfiguration {
        file: file.to_owned(),
        lines,
    })
}

fn holds(line: &str, set: &std::collections::HashSet<&str>) -> bool {
    let off = line.strip_suffix("=n").or_else(|| {
        line.strip_prefix("# ")
            .and_then(|line| line.strip_suffix(" is not set"))
    });
    if let Some(option) = off {
        let prefix = format!("{option}=");
        return !set.iter().any(|line| line.starts_with(&prefix));
    }
    line.starts_with('#') || set.contains(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=64\n";

    #[test]
    fn lines_that_hold_pass() {
        let wanted = "# a comment\n\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_GONE=n\nCONFIG_N=64\n";
        verify(Path::new("x"), wanted, CONFIG).unwrap();
    }

    #[test]
    fn every_dropped_line_is_named() {
        let wanted = "CONFIG_A=n\nCONFIG_B=y\nCONFIG_N=6\n# CONFIG_A is not set\n";
        let message = verify(Path::new("x.config"), wanted, CONFIG)
            .unwrap_err()
            .to_string();
        for part in [
            "x.config",
            "CONFIG_A=n",
            "CONFIG_B=y",
            "CONFIG_N=6",
            "# CONFIG_A is",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
