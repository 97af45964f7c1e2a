//! What a container asks of its network, and what it gets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::InterfaceOptions;

/// The network that a container asks for, as in `--network`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NetworkMode {
    /// An own namespace, and addresses on bridge networks.
    #[default]
    Bridge,
    /// The guest's own network.
    Host,
    /// An own namespace with a loopback interface only.
    None,
    /// The network of another container, by its full id once it is set up.
    Container(String),
}

/// A container that needs its network.
#[derive(Debug, Clone, Default)]
pub(crate) struct SetupRequest {
    /// The container's full id.
    pub id: String,
    /// The names it answers to on its network: its name, hostname and aliases.
    /// The short id is added by itself.
    pub names: Vec<String>,
    /// Where it is to be attached.
    pub mode: NetworkMode,
    /// Its networks, of the mode [`NetworkMode::Bridge`]; none: the default one.
    pub endpoints: Vec<EndpointRequest>,
    /// The name servers that it asks for other names; none: the agent's.
    pub name_servers: Vec<IpAddr>,
}

/// A network that a container is to be on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EndpointRequest {
    /// The network's name, id or the beginning of its id.
    pub network: String,
    /// The names it has on this network alone.
    pub aliases: Vec<String>,
    /// Names of its own for other containers: alias and name.
    pub links: Vec<(String, String)>,
    /// The addresses it must have.
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// The hardware address it must have.
    pub mac: Option<[u8; 6]>,
    /// The network with the highest is the way out; of equals the first.
    pub gateway_priority: i32,
    /// What its interface is to be like.
    pub interface: InterfaceOptions,
    /// Further addresses of its interface.
    pub link_local: Vec<IpAddr>,
}

/// What a container got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The network namespace to run in; none for the guest's own.
    pub netns: Option<PathBuf>,
    /// The address at which its ports are: that on its way out, or on the first
    /// of its networks.
    pub address: Option<Ipv4Addr>,
    /// The length of that network's prefix; 0 without an address.
    pub prefix_length: u8,
    /// The default gateway, which is that network's bridge.
    pub gateway: Option<Ipv4Addr>,
    /// The hardware address, as "02:42:ac:11:00:02".
    pub mac: Option<String>,
    /// The name servers for its resolv.conf.
    pub dns: Vec<IpAddr>,
    /// Those are a name server of its own, which knows its networks.
    pub own_name_server: bool,
    /// The address that stands for the host (`host-gateway`).
    pub host_address: Ipv4Addr,
    /// Whether it shares the guest's own network.
    pub host_network: bool,
    /// Its places on bridge networks.
    pub endpoints: Vec<AttachedEndpoint>,
}

impl Attachment {
    /// Returns that of a container that has no network yet.
    pub(crate) fn none(host_address: Ipv4Addr) -> Self {
        Self {
            netns: None,
            address: None,
            prefix_length: 0,
            gateway: None,
            mac: None,
            dns: Vec::new(),
            own_name_server: false,
            host_address,
            host_network: false,
            endpoints: Vec::new(),
        }
    }
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttachedEndpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The network's id and name.
    pub network: String,
    pub network_name: String,
    /// The address, the length of the network's prefix, and the bridge's.
    pub ipv4: IpAddr,
    pub prefix_length: u8,
    /// None where the network is internal: nothing goes out of it.
    pub gateway: Option<IpAddr>,
    /// The same of IPv6.
    pub ipv6: Option<(IpAddr, u8)>,
    pub ipv6_gateway: Option<IpAddr>,
    pub mac: String,
    /// All names that it answers to there.
    pub names: Vec<String>,
    /// Its interface in the container.
    pub interface: String,
}
