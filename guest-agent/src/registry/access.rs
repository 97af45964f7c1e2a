//! What the host says of registries: credentials, which of them may go without
//! TLS, mirrors, proxies.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;
use wherry_proto::v1;

use super::Error;

/// The registry behind the name `docker.io`.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Who asks. It has no `Debug`, so that nothing logs it.
#[derive(Clone, Default)]
pub(crate) struct Credential {
    pub(super) username: String,
    pub(super) password: String,
    pub(super) identity_token: String,
}

/// How to reach registries.
#[derive(Clone)]
pub(crate) struct Access {
    request: v1::RegistryAccess,
    /// The address under which the host's loopback is reached from here.
    pub(super) host: Ipv4Addr,
}

/// A server that speaks the distribution protocol.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// What messages call it.
    pub(super) registry: String,
    /// The addresses to try, in order: TLS first.
    pub(super) bases: Vec<Url>,
    /// Whether its certificate need not be vouched for.
    pub(super) insecure: bool,
    pub(super) credential: Option<Credential>,
}

impl Access {
    /// Takes what the host sent.
    pub(crate) fn new(request: Option<v1::RegistryAccess>, host: Ipv4Addr) -> Access {
        Access {
            request: request.unwrap_or_default(),
            host,
        }
    }

    /// Returns the registry of a domain, `docker.io` or `localhost:5000`.
    pub(super) fn endpoint(&self, domain: &str) -> Result<Endpoint, Error> {
        let server = if domain == "docker.io" {
            DOCKER_HUB
        } else {
            domain
        };
        let url = |scheme: &str| {
            Url::parse(&format!("{scheme}://{server}/"))
                .map_err(|error| Error::Invalid(format!("the registry {domain:?}: {error}")))
        };
        let insecure = self.is_insecure(&url("https")?);
        let mut bases = vec![url("https")?];
        if insecure {
            bases.push(url("http")?);
        }
        Ok(Endpoint {
            registry: domain.to_owned(),
            bases,
            insecure,
            credential: self.credential(domain),
        })
    }

    /// Returns the mirrors to ask before a domain's own registry. As in Docker,
    /// only docker.io has some.
    pub(super) fn mirrors(&self, domain: &str) -> Result<Vec<Endpoint>, Error> {
        if domain != "docker.io" {
            return Ok(Vec::new());
        }
        self.request
            .mirrors
            .iter()
            .map(|mirror| {
                let wrong = |reason: &str| {
                    Error::Invalid(format!(
                        "the registry mirror {mirror:?} {reason}: write it as https://HOST[:PORT]"
                    ))
                };
                let base = Url::parse(mirror).map_err(|_| wrong("is no address"))?;
                if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
                    return Err(wrong("is no address of a web server"));
                }
                let registry = match base.port() {
                    Some(port) => format!("{}:{port}", base.host_str().unwrap_or_default()),
                    None => base.host_str().unwrap_or_default().to_owned(),
                };
                Ok(Endpoint {
                    insecure: self.is_insecure(&base),
                    credential: self.credential(&registry),
                    registry,
                    bases: vec![base],
                })
            })
            .collect()
    }

    /// Returns the certificates that the host trusts, DER; often none.
    pub(super) fn authorities(&self) -> &[Vec<u8>] {
        &self.request.authorities
    }

    /// Tells whether those that browsers trust are trusted beside them.
    pub(super) fn trusts_bundled(&self) -> bool {
        self.request.bundled_authorities
    }

    /// Returns the proxies for plain and for encrypted connections, and what
    /// goes without.
    pub(super) fn proxies(&self) -> (&str, &str, &str) {
        let request = &self.request;
        (&request.http_proxy, &request.https_proxy, &request.no_proxy)
    }

    fn credential(&self, registry: &str) -> Option<Credential> {
        let found = self
            .request
            .credentials
            .iter()
            .find(|credential| credential.registry == registry)?;
        Some(Credential {
            username: found.username.clone(),
            password: found.password.clone(),
            identity_token: found.identity_token.clone(),
        })
    }

    /// As in Docker: 127.0.0.0/8 and ::1 always, and what the settings name.
    fn is_insecure(&self, url: &Url) -> bool {
        if is_loopback(url) {
            return true;
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port();
        let address = address(url);
        self.request.insecure.iter().any(|named| {
            if let Some((network, length)) = named.split_once('/') {
                return match (network.parse(), length.parse(), address) {
                    (Ok(network), Ok(length), Some(address)) => contains(network, length, address),
                    _ => false,
                };
            }
            let with_port = port.map(|port| format!("{host}:{port}"));
            named.eq_ignore_ascii_case(host)
                || with_port.is_some_and(|host| named.eq_ignore_ascii_case(&host))
        })
    }
}

/// Returns the address that a URL names without a name server.
pub(super) fn address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Tells whether a URL names this computer: the user's, not the guest.
pub(super) fn is_loopback(url: &Url) -> bool {
    match address(url) {
        Some(address) => address.is_loopback(),
        None => url.host_str().is_some_and(is_local_name),
    }
}

/// RFC 6761, section 6.3.
pub(super) fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn contains(network: IpAddr, length: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            u32::from(network) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            u128::from(network) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(request: v1::RegistryAccess) -> Access {
        Access::new(Some(request), Ipv4Addr::LOCALHOST)
    }

    fn bases(access: &Access, domain: &str) -> Vec<String> {
        let endpoint = access.endpoint(domain).unwrap();
        endpoint.bases.iter().map(Url::to_string).collect()
    }

    #[test]
    fn only_the_loopback_and_what_the_settings_name_may_go_without_tls() {
        let access = access(v1::RegistryAccess {
            insecure: vec!["box.lan:5000".to_owned(), "10.1.0.0/16".to_owned()],
            ..Default::default()
        });
        assert_eq!(
            bases(&access, "docker.io"),
            ["https://registry-1.docker.io/"]
        );
        assert_eq!(bases(&access, "box.lan"), ["https://box.lan/"]);
        for domain in [
            "localhost:5000",
            "127.3.2.1:80",
            "[::1]:5000",
            "box.lan:5000",
            "10.1.9.9",
        ] {
            assert_eq!(bases(&access, domain).len(), 2, "{domain}");
            assert!(access.endpoint(domain).unwrap().insecure);
        }
        for domain in ["10.2.0.1", "localhost.example.com", "box.lan:5001"] {
            assert_eq!(bases(&access, domain).len(), 1, "{domain}");
        }
    }

    #[test]
    fn a_credential_goes_to_its_registry_alone() {
        let access = access(v1::RegistryAccess {
            credentials: vec![v1::RegistryCredential {
                registry: "a.example".to_owned(),
                username: "me".to_owned(),
                ..Default::default()
            }],
            mirrors: vec!["https://mirror.example/".to_owned()],
            ..Default::default()
        });
        assert!(access.endpoint("a.example").unwrap().credential.is_some());
        assert!(access.endpoint("b.example").unwrap().credential.is_none());
        assert!(access.mirrors("docker.io").unwrap()[0].credential.is_none());
        assert!(access.mirrors("a.example").unwrap().is_empty());
    }

    #[test]
    fn a_wrong_mirror_is_refused_by_name() {
        let access = access(v1::RegistryAccess {
            mirrors: vec!["mirror.example".to_owned()],
            ..Default::default()
        });
        let Err(error) = access.mirrors("docker.io") else {
            panic!("taken");
        };
        assert!(error.to_string().contains("mirror.example"), "{error}");
    }
}
