//! Certificates for the Engine API over TCP: an authority of its own, the
//! engine's certificate and a client's.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// How long they hold; what some systems accept at most.
pub const DAYS: i64 = 825;

/// The names that every engine has for programs on its own computer.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The files that were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The authority's certificate. Its key was thrown away.
    pub ca: PathBuf,
    /// The engine's certificate.
    pub certificate: PathBuf,
    /// The engine's key.
    pub key: PathBuf,
    /// The folder for `DOCKER_CERT_PATH`: `ca.pem`, `cert.pem` and `key.pem`.
    pub client: PathBuf,
}

impl Files {
    /// Returns where the files lie in a folder, whether or not they are there.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("server-cert.pem"),
            key: folder.join("server-key.pem"),
            client: folder.join("client"),
        }
    }
}

/// Why certificates cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// There are some.
    #[error("there are certificates in {folder}: use --force to replace them, which locks out the clients that have them", folder = folder.display())]
    There {
        /// Where.
        folder: PathBuf,
    },
    /// A name that no certificate can have.
    #[error("the certificate cannot be made: {0}; a --name is a host name or an IP address")]
    Make(#[from] rcgen::Error),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Makes an authority, a certificate for an engine that is reached as `names` and
/// on its own computer, and one for its clients, in `folder`. The authority's key
/// is kept nowhere, so that nobody can sign another certificate.
///
/// # Errors
///
/// [`CertificatesError`]; where there are some unless `replace`.
pub fn create(folder: &Path, names: &[String], replace: bool) -> Result<Files, CertificatesError> {
    let files = Files::of(folder);
    if files.ca.exists() && !replace {
        return Err(CertificatesError::There {
            folder: folder.to_owned(),
        });
    }
    let issuer = authority()?;
    let own = OWN_NAMES.iter().map(|name| (*name).to_owned());
    let names: Vec<String> = own.chain(names.iter().cloned()).collect();
    let server = leaf("Wherry", names, ExtendedKeyUsagePurpose::ServerAuth)?;
    let client = leaf(
        "Wherry's client",
        Vec::new(),
        ExtendedKeyUsagePurpose::ClientAuth,
    )?;
    let (server_key, client_key) = (KeyPair::generate()?, KeyPair::generate()?);
    let server = server.signed_by(&server_key, &issuer)?.pem();
    let client = client.signed_by(&client_key, &issuer)?.pem();
    let ca = issuer.pem();

    let unwritten = |path: &Path, source| CertificatesError::Write {
        path: path.to_owned(),
        source,
    };
    for folder in [folder, &files.client] {
        crate::home::create_private(folder).map_err(|source| unwritten(folder, source))?;
    }
    let in_client = |name: &str| files.client.join(name);
    for (path, text) in [
        (files.ca.clone(), &ca),
        (files.certificate.clone(), &server),
        (files.key.clone(), &server_key.serialize_pem()),
        (in_client("ca.pem"), &ca),
        (in_client("cert.pem"), &client),
        (in_client("key.pem"), &client_key.serialize_pem()),
    ] {
        write_private(&path, text.as_bytes()).map_err(|source| unwritten(&path, source))?;
    }
    Ok(files)
}

fn dated(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    // The clients' clocks may be behind.
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(DAYS);
    params
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let key = KeyPair::generate()?;
    // Its own name, so that a certificate of an earlier one is not taken for one of
    // this one with a wrong signature.
    let digest = Sha256::digest(key.public_key_raw());
    let digest: String = digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("Wherry's own authority {digest}");
    let mut params = dated(CertificateParams::default(), &name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, key)
}

fn leaf(
    name: &str,
    names: Vec<String>,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = dated(CertificateParams::new(names)?, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Writes a file for its owner alone; whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Mode 0600, as every file that tempfile makes.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let _: File = file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_their_owners_and_not_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("tls");
        let files = create(&folder, &["box.lan".to_owned()], false).unwrap();
        assert_eq!(files, Files::of(&folder));
        for file in [&files.key, &files.client.join("key.pem"), &files.client] {
            assert!(!crate::others_may_read(file).unwrap(), "{}", file.display());
        }
        let before = std::fs::read(&files.ca).unwrap();
        let error = create(&folder, &[], false).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        assert_eq!(std::fs::read(&files.ca).unwrap(), before);
        create(&folder, &[], true).unwrap();
        assert_ne!(std::fs::read(&files.ca).unwrap(), before);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = create(folder.path(), &["bücher".to_owned()], false).unwrap_err();
        assert!(error.to_string().contains("--name"), "{error}");
        assert!(!folder.path().join("ca.pem").exists());
    }
}
