//! HTTP and TLS to registries.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Error;
use super::access::{Access, address, is_local_name, is_loopback};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest silence in the middle of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes a client that follows no redirect by itself.
pub(super) fn client(access: &Access, insecure: bool) -> Result<reqwest::Client, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Internal(error.to_string()))?;
    let mut tls = if insecure {
        tls.dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            .with_no_client_auth()
    } else {
        tls.with_root_certificates(roots(access))
            .with_no_client_auth()
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Resolver { host: access.host })
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("wherry/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    let (http, https, without) = access.proxies();
    for (proxy, make) in [
        (http, reqwest::Proxy::http as fn(Url) -> _),
        (https, reqwest::Proxy::https),
    ] {
        if proxy.is_empty() {
            continue;
        }
        let wrong = || {
            // Not the proxy itself: it may hold a password.
            Error::Invalid("the proxy in the environment is no address of a web server".to_owned())
        };
        let text = if proxy.contains("://") {
            proxy.to_owned()
        } else {
            format!("http://{proxy}")
        };
        let url = Url::parse(&text).map_err(|_| wrong())?;
        let proxy = make(from_here(&url, access.host))
            .map_err(|_| wrong())?
            .no_proxy(reqwest::NoProxy::from_string(&format!(
                "localhost,127.0.0.0/8,::1,{},{without}",
                access.host
            )));
        builder = builder.proxy(proxy);
    }
    builder
        .build()
        .map_err(|error| Error::Internal(format!("cannot set up HTTP: {error}")))
}

/// Returns a URL as it is reached from here: the loopback means the host's.
/// Names are left to the resolver.
pub(super) fn from_here(url: &Url, host: Ipv4Addr) -> Url {
    let mut url = url.clone();
    if address(&url).is_some() && is_loopback(&url) {
        // Fails for URLs without a host alone, and this one has one.
        let _ = url.set_ip_host(IpAddr::V4(host));
    }
    url
}

/// Returns whom to trust: as the host does, and where that trusts nobody by
/// itself, as browsers do.
fn roots(access: &Access) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let of_host = access.authorities().iter();
    // Some that hosts carry are too old for today's rules: they vouch for nobody.
    let (taken, _) =
        roots.add_parsable_certificates(of_host.map(|der| CertificateDer::from_slice(der)));
    if taken == 0 || access.trusts_bundled() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Looks names up; `localhost` is the host's.
struct Resolver {
    host: Ipv4Addr,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = self.host;
        Box::pin(async move {
            if is_local_name(name.as_str()) {
                let addresses = [SocketAddr::from((host, 0))].into_iter();
                return Ok(Box::new(addresses) as Addrs);
            }
            let addresses: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Takes any certificate, for registries that the user calls insecure.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use wherry_proto::v1::RegistryAccess;

    use super::*;

    /// Of openssl's making, "CN=Test CA".
    const PRIVATE: &str = "\
        MIIBezCCASGgAwIBAgIUfc/tzzootEk4l2jfGApVcfTL4RkwCgYIKoZIzj0EAwIwEjEQMA4GA1UE\
        AwwHVGVzdCBDQTAgFw0yNjExMjQxNDU1NThaGA8yMTI2MTAzMTE0NTU1OFowEjEQMA4GA1UEAwwH\
        VGVzdCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDyQeaHb8OvuD3SHHbFx2eb8KLj/D5UQ\
        eI9Dm/WWL7mLqhN7NqlfKp1h+Opwo/6W9pvqR/KXRm37qQiv2BGWY++jUzBRMB0GA1UdDgQWBBSE\
        ff+RcZyEKsGSLXax7wPVWdjRPjAfBgNVHSMEGDAWgBSEff+RcZyEKsGSLXax7wPVWdjRPjAPBgNV\
        HRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQC+56fvkdBJ4+4c3Da3RnMH8YAiwHrrrEhY\
        h2ihdajp0gIgIru0eqGbSeRfABzcrlpeGkAg6cfih2Cj1XIT4T1aero=";

    #[test]
    fn a_private_authority_stands_beside_the_bundled_ones_where_the_host_has_none() {
        let private = STANDARD.decode(PRIVATE).unwrap();
        let browsers = webpki_roots::TLS_SERVER_ROOTS.len();
        for (authorities, bundled, trusted) in [
            (vec![], false, browsers),
            (vec![vec![0]], false, browsers),
            (vec![private.clone()], false, 1),
            (vec![private], true, 1 + browsers),
        ] {
            let request = RegistryAccess {
                authorities,
                bundled_authorities: bundled,
                ..RegistryAccess::default()
            };
            let access = Access::new(Some(request), Ipv4Addr::LOCALHOST);
            assert_eq!(roots(&access).len(), trusted);
        }
    }
}
