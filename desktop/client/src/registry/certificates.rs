//! Whom the host trusts.

use std::path::{Path, PathBuf};

use super::credentials::config_folder;

/// Returns the certificate authorities of the host and those that Docker's
/// `certs.d` has for one registry, DER. What cannot be read vouches for nobody.
pub(super) fn trusted(registry: &str) -> Vec<Vec<u8>> {
    let host = rustls_native_certs::load_native_certs();
    for error in &host.errors {
        tracing::debug!("a certificate of the host: {error}");
    }
    let own = folders(registry)
        .into_iter()
        .flat_map(|folder| certificates(&folder));
    let host = host
        .certs
        .into_iter()
        .map(|certificate| certificate.to_vec());
    own.chain(host).collect()
}

/// As Docker: `certs.d/HOST:PORT/*.crt`, the system's and the user's.
fn folders(registry: &str) -> Vec<PathBuf> {
    let system = cfg!(unix).then(|| PathBuf::from("/etc/docker"));
    let mut roots = system.into_iter().chain(config_folder());
    // The name comes from a command line: one folder, nothing above it.
    if registry.contains(['/', '\\']) || registry.starts_with('.') {
        return Vec::new();
    }
    let mut found = Vec::new();
    for root in roots.by_ref() {
        found.push(root.join("certs.d").join(registry));
    }
    found
}

fn certificates(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt"))
        .flat_map(|path| rustls_native_certs::load_certs_from_paths(Some(&path), None).certs)
        .map(|certificate| certificate.to_vec())
        .collect()
}
