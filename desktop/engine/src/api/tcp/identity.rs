//! The certificates of the settings.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};
use wherry_client::others_may_read;
use wherry_client::settings::ApiListener;

use super::{Config, Names, TcpError};

/// The three files, as they were when they were read.
#[derive(PartialEq, Eq)]
pub(super) struct Identity {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Where one cannot be read, or others may read the key.
    pub(super) fn read(listener: &ApiListener) -> Result<Self, TcpError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TcpError::Read {
                path: path.to_owned(),
                source,
            })
        };
        let identity = Self {
            ca: read(&listener.ca)?,
            certificate: read(&listener.certificate)?,
            key: read(&listener.key)?,
        };
        if others_may_read(&listener.key).unwrap_or(true) {
            let path = listener.key.clone();
            return Err(TcpError::Public { path });
        }
        Ok(identity)
    }

    /// Returns how a server with these files speaks TLS, and the names that it has.
    ///
    /// # Errors
    ///
    /// Where a file holds something else, or they do not belong together.
    pub(super) fn config(&self, listener: &ApiListener) -> Result<(Config, Arc<Names>), TcpError> {
        let certificates = |bytes: &[u8], path: &Path| {
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
            match found {
                Ok(found) if !found.is_empty() => Ok(found),
                _ => Err(TcpError::Pem {
                    path: path.to_owned(),
                    what: "certificate",
                }),
            }
        };
        let unusable = |error: &dyn std::fmt::Display| TcpError::Unusable(error.to_string());
        let mut authorities = RootCertStore::empty();
        for authority in certificates(&self.ca, &listener.ca)? {
            authorities.add(authority).map_err(|e| unusable(&e))?;
        }
        let chain = certificates(&self.certificate, &listener.certificate)?;
        let names = Names::of(chain.first().cloned().unwrap_or_else(|| Vec::new().into()));
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TcpError::Pem {
            path: listener.key.clone(),
            what: "private key",
        })?;
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(authorities.into(), provider.clone())
                .build()
                .map_err(|e| unusable(&e))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_client_cert_verifier(verifier)
                    .with_single_cert(chain, key)
            })
            .map_err(|e| unusable(&e))?;
        Ok((Arc::new(config), Arc::new(names)))
    }
}
