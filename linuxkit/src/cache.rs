//! The folder of what is built once: results named by the hash of their inputs,
//! locked against other builders, in place only when whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{OnPath, Result};

/// Returns the folder where builds are kept when nothing else is said:
/// `$WHERRY_CACHE`, or `wherry` in `$XDG_CACHE_HOME` or `~/.cache`.
pub fn default_cache() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = variable("WHERRY_CACHE") {
        return path.into();
    }
    let base = variable("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(variable("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    base.join("wherry")
}

/// Returns the SHA-256 of bytes in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Returns the SHA-256 of parts, each told apart from the next by its length.
pub(crate) fn sha256_of_parts(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// Waits until this process alone holds `<path>.lock`. Dropping it lets go.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = File::create(&name).on("create", &name)?;
    file.lock().on("lock", &name)?;
    Ok(file)
}

/// Writes a file so that a reader sees the old one or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = beside(path);
    fs::write(&temporary, bytes).on("write", &temporary)?;
    fs::rename(&temporary, path).on("rename to", path)
}

/// Returns the name under which `path` is prepared before it is renamed.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}
