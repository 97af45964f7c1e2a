//! The settings of the Engine API, `[api]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// How the Engine API is served beside its local socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// Where it is served over TCP. Default: nowhere.
    pub listener: Option<ApiListener>,
    /// Whether containers that mount the engine's socket reach it. Default: yes.
    pub in_containers: bool,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            listener: None,
            in_containers: true,
        }
    }
}

/// An address that the Engine API is served at, with TLS, to clients whose
/// certificate an authority of the user's choice has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiListener {
    /// Where to listen.
    pub address: SocketAddr,
    /// The authority of the clients' certificates, PEM.
    pub ca: PathBuf,
    /// The server's certificate, PEM, with those between it and its authority.
    pub certificate: PathBuf,
    /// The key of the server's certificate, PEM.
    pub key: PathBuf,
}

/// The table as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    listen: Option<SocketAddr>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    containers: Option<bool>,
}

impl Table {
    /// Checks what belongs together; `expand` makes a path of what a user wrote.
    pub(super) fn settings(
        self,
        expand: impl Fn(&str) -> Result<PathBuf, String>,
    ) -> Result<ApiSettings, String> {
        let in_containers = self.containers.unwrap_or(true);
        let listener = match (self.listen, self.ca, self.cert, self.key) {
            (None, None, None, None) => None,
            (Some(address), Some(ca), Some(certificate), Some(key)) => Some(ApiListener {
                address,
                ca: expand(&ca)?,
                certificate: expand(&certificate)?,
                key: expand(&key)?,
            }),
            (None, ..) => {
                return Err("ca, cert and key are for TCP: set listen too, for example \
                            listen = \"127.0.0.1:2376\""
                    .to_owned());
            }
            (Some(_), ca, certificate, key) => {
                let missing: Vec<&str> = [("ca", ca), ("cert", certificate), ("key", key)]
                    .into_iter()
                    .filter_map(|(name, file)| file.is_none().then_some(name))
                    .collect();
                return Err(format!(
                    "listen needs {} too: whoever reaches the Engine API controls the engine, so that over TCP \
                     it is served to clients with a certificate only; `wherry certificates create` makes all files",
                    missing.join(", ")
                ));
            }
        };
        Ok(ApiSettings {
            listener,
            in_containers,
        })
    }
}
