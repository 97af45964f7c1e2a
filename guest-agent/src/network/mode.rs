//! What a container asks of its network, and what it gets.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NetworkError;

/// The network that a container asks for, as in `--network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NetworkMode {
    /// An own namespace, an address on the bridge.
    Bridge,
    /// The guest's own network.
    Host,
    /// An own namespace with a loopback interface only.
    None,
    /// The network of another container, by its full id once it is set up.
    Container(String),
}

impl FromStr for NetworkMode {
    type Err = NetworkError;

    /// Reads Docker's spelling. What follows `container:` stands as it is: the
    /// caller replaces a name by the id.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        match text {
            "" | "bridge" | "default" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            other => match other.strip_prefix("container:") {
                Some(target) if !target.is_empty() => Ok(Self::Container(target.to_owned())),
                _ => Err(NetworkError::UnknownNetwork(other.to_owned())),
            },
        }
    }
}

/// A container that needs its network.
#[derive(Debug, Clone)]
pub(crate) struct SetupRequest {
    /// The container's full id.
    pub id: String,
    /// The names it answers to on its network: its name, hostname and aliases.
    /// The short id is added by itself.
    pub names: Vec<String>,
    /// Where it is to be attached.
    pub mode: NetworkMode,
}

/// What a container got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The network namespace to run in; none for the guest's own.
    pub netns: Option<PathBuf>,
    /// The address on the bridge.
    pub address: Option<Ipv4Addr>,
    /// The length of the bridge network's prefix; 0 without an address.
    pub prefix_length: u8,
    /// The default gateway, which is the bridge.
    pub gateway: Option<Ipv4Addr>,
    /// The hardware address, as "02:42:ac:11:00:02".
    pub mac: Option<String>,
    /// The name servers for its resolv.conf.
    pub dns: Vec<IpAddr>,
    /// The address that stands for the host (`host-gateway`).
    pub host_address: Ipv4Addr,
    /// Whether it shares the guest's own network.
    pub host_network: bool,
}
