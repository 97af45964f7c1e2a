//! What an agent's network looks like: in the guest, or as a plain process.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::{Prefix, Subnet};

/// QEMU's user-mode network: the guest's address.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// QEMU's user-mode network: the gateway, which is the host.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// QEMU's user-mode network: the name server.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// How the agent itself reaches the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Uplink {
    /// The first network card gets this address and default route.
    Static {
        /// The card's address.
        address: Ipv4Addr,
        /// The length of its network's prefix.
        prefix_length: u8,
        /// The default gateway.
        gateway: Ipv4Addr,
    },
    /// The machine's network is somebody else's and stays as it is.
    Untouched,
}

/// The bridge that containers are attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeOptions {
    /// The interface's name, at most 15 bytes.
    pub interface: String,
    /// The range; its first address is the bridge's own.
    pub subnet: Subnet,
    /// The nftables table in family inet. Only this agent may use it.
    pub table: String,
}

/// Everything that [`super::Network::open`] needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// The folder on the data disk for the records of networks (`networks/`).
    pub root: PathBuf,
    /// The folder for namespaces (`netns/`) and records (`network/`). It must
    /// not outlive a reboot: neither do the namespaces.
    pub run: PathBuf,
    /// How the agent itself reaches the outside.
    pub uplink: Uplink,
    /// The bridge; none where containers can only have the networks host and none.
    pub bridge: Option<BridgeOptions>,
    /// The host's networks, which the default bridge makes way for.
    pub avoided: Vec<Prefix>,
    /// The address that `host.docker.internal` stands for.
    pub host_address: Ipv4Addr,
    /// The name servers that queries for other names go to, in order.
    pub upstream: Vec<SocketAddr>,
}

impl Options {
    /// Returns the network of the guest, behind QEMU's user-mode network.
    pub(crate) fn guest(root: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            run: run.into(),
            uplink: Uplink::Static {
                address: GUEST,
                prefix_length: 24,
                gateway: HOST,
            },
            bridge: Some(BridgeOptions {
                interface: "wherry0".to_owned(),
                subnet: Subnet::new(Ipv4Addr::new(172, 17, 0, 0), 16),
                table: "wherry".to_owned(),
            }),
            avoided: Vec::new(),
            host_address: HOST,
            upstream: vec![SocketAddr::from((NAME_SERVER, 53))],
        }
    }

    /// Returns the network of an agent that runs as a plain process: the
    /// machine's own network stays as it is, and name servers come from its
    /// `/etc/resolv.conf`. The range differs from the guest's, because on such
    /// a machine another engine may hold 172.17.0.0/16.
    pub(crate) fn process(root: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        let subnet = Subnet::new(Ipv4Addr::new(10, 90, 0, 0), 16);
        Self {
            root: root.into(),
            run: run.into(),
            uplink: Uplink::Untouched,
            avoided: Vec::new(),
            host_address: subnet.gateway(),
            bridge: Some(BridgeOptions {
                interface: "wherry0".to_owned(),
                subnet,
                table: "wherry".to_owned(),
            }),
            upstream: system_name_servers(Path::new("/etc/resolv.conf")),
        }
    }

    /// Returns a network without a bridge: containers can have host and none.
    pub(crate) fn without_bridge(root: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self {
            bridge: None,
            host_address: Ipv4Addr::LOCALHOST,
            ..Self::process(root, run)
        }
    }
}

/// Returns the name servers of a resolv.conf, none if it cannot be read.
fn system_name_servers(path: &Path) -> Vec<SocketAddr> {
    name_servers(&fs::read_to_string(path).unwrap_or_default())
}

/// Returns the name servers that a resolv.conf names, in order.
pub(super) fn name_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}
