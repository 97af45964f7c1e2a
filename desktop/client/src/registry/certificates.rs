//! Whom the host trusts.

use std::path::{Path, PathBuf};

use super::credentials::config_folder;

/// Whom a registry's certificate may come from.
pub(super) struct Trusted {
    /// The host's authorities, and those that Docker's `certs.d` has for this
    /// registry, DER.
    pub(super) authorities: Vec<Vec<u8>>,
    /// The host itself has none, so that browsers' are trusted too.
    pub(super) bundled: bool,
}

/// Returns whom to trust. What cannot be read vouches for nobody.
pub(super) fn trusted(registry: &str) -> Trusted {
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
    Trusted {
        bundled: host.len() == 0,
        authorities: own.chain(host).collect(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBezCCASGgAwIBAgIUfc/tzzootEk4l2jfGApVcfTL4RkwCgYIKoZIzj0EAwIw\n\
EjEQMA4GA1UEAwwHVGVzdCBDQTAgFw0yNjExMjQxNDU1NThaGA8yMTI2MTAzMTE0\n\
NTU1OFowEjEQMA4GA1UEAwwHVGVzdCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEH\n\
A0IABDyQeaHb8OvuD3SHHbFx2eb8KLj/D5UQeI9Dm/WWL7mLqhN7NqlfKp1h+Opw\n\
o/6W9pvqR/KXRm37qQiv2BGWY++jUzBRMB0GA1UdDgQWBBSEff+RcZyEKsGSLXax\n\
7wPVWdjRPjAfBgNVHSMEGDAWgBSEff+RcZyEKsGSLXax7wPVWdjRPjAPBgNVHRMB\n\
Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQC+56fvkdBJ4+4c3Da3RnMH8YAi\n\
wHrrrEhYh2ihdajp0gIgIru0eqGbSeRfABzcrlpeGkAg6cfih2Cj1XIT4T1aero=\n\
-----END CERTIFICATE-----\n";

    #[test]
    fn a_registrys_folder_names_its_authorities() {
        let folder = tempfile::tempdir().unwrap();
        assert!(certificates(folder.path()).is_empty());
        for name in ["ca.crt", "other.crt"] {
            std::fs::write(folder.path().join(name), PEM).unwrap();
        }
        std::fs::write(folder.path().join("client.key"), "no certificate").unwrap();
        std::fs::write(folder.path().join("broken.crt"), "no certificate").unwrap();
        std::fs::write(folder.path().join("client.cert"), PEM).unwrap();
        assert_eq!(certificates(folder.path()).len(), 2);
        assert!(certificates(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn a_registrys_name_leads_to_one_folder() {
        for name in ["../other", "a/b", ".", "a\\b"] {
            assert!(folders(name).is_empty(), "{name}");
        }
        let found = folders("box.lan:5000");
        assert!(
            found
                .iter()
                .all(|folder| folder.ends_with("certs.d/box.lan:5000"))
        );
    }
}
