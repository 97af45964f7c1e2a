//! The bridge driver: a Linux bridge, one veth pair for each container.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Mutex;

use tokio::runtime::Handle;

use super::address::hardware_address;
use super::context::{Context, lock};
use super::dns::Server;
use super::driver::{Driver, new_record};
use super::netlink::{self, Netlink};
use super::options::BridgeOptions;
use super::record::Record;
use super::{NetworkError, NetworkMode, SetupRequest, firewall, namespace};

/// The container's end of the pair.
const CONTAINER_INTERFACE: &str = "eth0";

/// The bridge driver. The bridge comes with the first container and stays.
pub(super) struct Bridge {
    runtime: Handle,
    ready: Mutex<Option<Ready>>,
}

/// A bridge that works.
struct Ready {
    index: u32,
    /// Answers until it is dropped.
    _dns: Server,
}

impl Bridge {
    /// Returns a driver whose name server runs on `runtime`.
    pub(super) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            ready: Mutex::new(None),
        }
    }

    /// Returns the bridge's index; makes the bridge, its rules and its name
    /// server the first time. Fine if an earlier process made the bridge.
    pub(super) fn ensure(&self, context: &Context) -> Result<u32, NetworkError> {
        let options = context
            .options
            .bridge
            .as_ref()
            .ok_or(NetworkError::BridgeDisabled)?;
        let mut ready = lock(&self.ready);
        if let Some(ready) = &*ready {
            return Ok(ready.index);
        }
        let index = create_bridge(options)?;
        enable_forwarding()?;
        firewall::apply(options)?;
        let dns = Server::start(
            &self.runtime,
            options.subnet.gateway(),
            context.zone.clone(),
            context.options.upstream.clone(),
        )?;
        *ready = Some(Ready { index, _dns: dns });
        Ok(index)
    }

    fn attach(&self, context: &Context, record: &Record, bridge: u32) -> Result<(), NetworkError> {
        let (Some(options), Some(address), Some(veth)) =
            (&context.options.bridge, record.address, &record.veth)
        else {
            return Err(NetworkError::BridgeDisabled);
        };
        let mut kernel = Netlink::open().map_err(NetworkError::kernel("open a netlink socket"))?;
        namespace::create(&context.netns(&record.id), |own| {
            kernel
                .execute(vec![netlink::create_veth(
                    veth,
                    bridge,
                    CONTAINER_INTERFACE,
                    hardware_address(address),
                    own.as_fd(),
                )])
                .map_err(NetworkError::kernel(format!(
                    "create the network interface {veth}"
                )))?;
            configure(options, address).map_err(NetworkError::kernel(format!(
                "give the container the address {address}"
            )))
        })
    }
}

/// Configures the calling thread's namespace, where the pair's end is already.
fn configure(options: &BridgeOptions, address: std::net::Ipv4Addr) -> io::Result<()> {
    let subnet = options.subnet;
    let index = netlink::interface_index(CONTAINER_INTERFACE)?;
    Netlink::open()?.execute(vec![
        netlink::set_up("lo"),
        netlink::set_up(CONTAINER_INTERFACE),
        netlink::add_address(index, address, subnet.prefix_length(), subnet.broadcast()),
        netlink::set_default_route(index, subnet.gateway()),
    ])
}

impl Driver for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn validate(&self, context: &Context, _: &SetupRequest) -> Result<(), NetworkError> {
        context
            .options
            .bridge
            .as_ref()
            .map(drop)
            .ok_or(NetworkError::BridgeDisabled)
    }

    fn setup(&self, context: &Context, request: &SetupRequest) -> Result<Record, NetworkError> {
        let bridge = self.ensure(context)?;
        let record = context.keep_with_address(new_record(request, NetworkMode::Bridge))?;
        if let Err(error) = self.attach(context, &record, bridge) {
            // Whoever removed the bridge: the next container makes it again.
            *lock(&self.ready) = None;
            return Err(error);
        }
        Ok(record)
    }

    fn teardown(&self, context: &Context, record: &Record) -> Vec<NetworkError> {
        let path = context.netns(&record.id);
        namespace::remove(&path).err().into_iter().collect()
    }

    /// Removes the veth pair, for which the kernel waits through several RCU
    /// grace periods. The namespace's end would remove it too, but later still,
    /// and until then the bridge sends the address's packets to this port.
    fn reclaim(&self, _: &Context, record: &Record) -> Vec<NetworkError> {
        let removed = record.veth.as_deref().map(remove_link);
        removed.and_then(Result::err).into_iter().collect()
    }
}

/// Removes an interface; fine if there is none.
pub(super) fn remove_link(name: &str) -> Result<(), NetworkError> {
    match Netlink::open().and_then(|mut kernel| kernel.execute(vec![netlink::delete_link(name)])) {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => Err(NetworkError::kernel(
            format!("remove the network interface {name}"),
        )(error)),
        _ => Ok(()),
    }
}

/// Removes the ports of the bridge whose names `keep` does not know.
pub(super) fn remove_other_ports(
    options: &BridgeOptions,
    keep: impl Fn(&str) -> bool,
) -> Vec<NetworkError> {
    match other_ports(options, keep) {
        Ok(names) => names
            .iter()
            .filter_map(|name| remove_link(name).err())
            .collect(),
        Err(error) => vec![error],
    }
}

/// Returns the ports of the bridge whose names `keep` does not know.
pub(super) fn other_ports(
    options: &BridgeOptions,
    keep: impl Fn(&str) -> bool,
) -> Result<Vec<String>, NetworkError> {
    let Ok(bridge) = netlink::interface_index(&options.interface) else {
        return Ok(Vec::new());
    };
    let links = Netlink::open()
        .and_then(|mut kernel| kernel.links())
        .map_err(NetworkError::kernel("list the network interfaces"))?;
    let ports = links
        .into_iter()
        .filter(|link| link.controller == Some(bridge) && link.name.starts_with("veth"));
    Ok(ports
        .map(|link| link.name)
        .filter(|name| !keep(name))
        .collect())
}

fn create_bridge(options: &BridgeOptions) -> Result<u32, NetworkError> {
    let BridgeOptions {
        interface, subnet, ..
    } = options;
    let gateway = subnet.gateway();
    let create = || {
        let mut kernel = Netlink::open()?;
        match kernel.execute(vec![netlink::create_bridge(
            interface,
            hardware_address(gateway),
        )]) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
            _ => {}
        }
        let index = netlink::interface_index(interface)?;
        kernel.execute(vec![
            netlink::set_up(interface),
            netlink::add_address(index, gateway, subnet.prefix_length(), subnet.broadcast()),
        ])?;
        Ok(index)
    };
    create().map_err(NetworkError::kernel(format!(
        "create the bridge {interface}"
    )))
}

fn enable_forwarding() -> Result<(), NetworkError> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    fs::write(path, "1").map_err(NetworkError::file("write", path))
}
