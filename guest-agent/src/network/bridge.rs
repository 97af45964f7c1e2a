//! The bridge driver: a Linux bridge for each network, one veth pair for each
//! of a container's networks.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;

use super::address::hardware_address;
use super::context::{Context, lock};
use super::definition::Definition;
use super::dns::{Server, Sockets, View};
use super::driver::{Driver, new_record};
use super::netlink::{self, Netlink};
use super::prefix::Prefix;
use super::record::{Endpoint, Record};
use super::resolver;
use super::{EndpointRequest, NetworkError, NetworkMode, SetupRequest, firewall, namespace};

/// The bridge driver. A network's bridge comes with its first container and
/// stays until the network is removed.
pub(super) struct Bridge {
    pub(super) runtime: Handle,
    /// The bridges that work, by the network's id.
    ready: Mutex<HashMap<String, Ready>>,
}

/// A bridge that works.
struct Ready {
    index: u32,
    /// Answers until it is dropped; the default network alone has one.
    _dns: Option<Server>,
}

impl Bridge {
    /// Returns a driver whose name servers run on `runtime`.
    pub(super) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            ready: Mutex::default(),
        }
    }

    /// Returns a bridge's index; makes the bridge and its rules the first time.
    /// Fine if an earlier process made the bridge.
    pub(super) fn ensure(
        &self,
        context: &Context,
        network: &Definition,
    ) -> Result<u32, NetworkError> {
        let mut ready = lock(&self.ready);
        if let Some(ready) = ready.get(&network.id) {
            return Ok(ready.index);
        }
        let index = create_bridge(network)?;
        enable_forwarding(network)?;
        firewall::apply(network)?;
        let dns = match (network.is_default(), network.ipv4.gateway) {
            (true, IpAddr::V4(gateway)) => {
                let zone = context.zone(&network.id)?;
                let options = &context.options;
                let view = View::shared(zone, options.host_address, &options.upstream);
                let sockets = Sockets::bind(gateway, 53)?;
                Some(Server::start(&self.runtime, sockets, Arc::new(view))?)
            }
            _ => None,
        };
        ready.insert(network.id.clone(), Ready { index, _dns: dns });
        Ok(index)
    }

    /// Removes a network's rules and bridge; fine if there are none.
    pub(super) fn remove(&self, network: &Definition) -> Result<(), NetworkError> {
        let mut ready = lock(&self.ready);
        let exists = netlink::interface_index(&network.interface).is_ok();
        if ready.remove(&network.id).is_some() || exists {
            firewall::remove(&network.table)?;
            remove_link(&network.interface)?;
        }
        Ok(())
    }

    /// Makes the bridges of some of a container's endpoints ready, and returns
    /// these with their networks and the bridges' indices.
    fn places(
        &self,
        context: &Context,
        endpoints: &[Endpoint],
    ) -> Result<Vec<Place>, NetworkError> {
        let place = |endpoint: &Endpoint| {
            let network = context.definition(&endpoint.network)?;
            Ok(Place {
                bridge: self.ensure(context, &network)?,
                endpoint: endpoint.clone(),
                network,
            })
        };
        endpoints.iter().map(place).collect()
    }

    /// Connects a container that runs to one more network.
    pub(super) fn connect(
        &self,
        context: &Context,
        id: &str,
        request: &EndpointRequest,
    ) -> Result<(), NetworkError> {
        let before = context
            .attached(id)
            .ok_or_else(|| NetworkError::NotAttached(id.to_owned()))?;
        let record = context.reserve(before.clone(), std::slice::from_ref(request))?;
        let Some(endpoint) = record.endpoints.last().cloned() else {
            return Err(NetworkError::Interrupted(id.to_owned()));
        };
        let attached = self
            .places(context, std::slice::from_ref(&endpoint))
            .and_then(|places| self.join(context, &record, &places));
        if let Err(error) = attached {
            lock(&self.ready).remove(&endpoint.network);
            let _ = remove_link(&endpoint.veth);
            context.give_up(before, &endpoint)?;
            return Err(error);
        }
        Ok(())
    }

    fn join(
        &self,
        context: &Context,
        record: &Record,
        places: &[Place],
    ) -> Result<(), NetworkError> {
        let path = context.netns(&record.id);
        let own = File::open(&path).map_err(NetworkError::file("open", &path))?;
        make_pairs(&mut open_kernel()?, places, &own)?;
        let sockets = namespace::inside(&path, || {
            configure(places, context.way_out(record))?;
            match record.resolver_port.is_none() && context.wants_resolver(record) {
                true => resolver::open(None).map(Some),
                false => Ok(None),
            }
        })?;
        self.resolve(context, record, sockets)
    }

    /// Starts a container's own name server, or tells the one it has what it
    /// sees now.
    fn resolve(
        &self,
        context: &Context,
        record: &Record,
        sockets: Option<Sockets>,
    ) -> Result<(), NetworkError> {
        if let Some(sockets) = sockets {
            context.keep_resolver(&self.runtime, &record.id, sockets)?;
        }
        context.refresh_view(&record.id);
        Ok(())
    }

    /// Takes a container that runs from one of its networks.
    pub(super) fn disconnect(
        &self,
        context: &Context,
        id: &str,
        network: &str,
    ) -> Result<(), NetworkError> {
        let not_connected = || {
            let name = context
                .definition(network)
                .map_or(network.to_owned(), |network| network.name.clone());
            NetworkError::Refused(format!("container {id} is not connected to network {name}"))
        };
        let before = context
            .attached(id)
            .ok_or_else(|| NetworkError::NotAttached(id.to_owned()))?;
        let mut after = before.clone();
        let place = before
            .endpoints
            .iter()
            .position(|endpoint| endpoint.network == network)
            .ok_or_else(not_connected)?;
        let endpoint = after.endpoints.remove(place);
        remove_link(&endpoint.veth)?;
        context.give_up(after.clone(), &endpoint)?;
        context.refresh_view(id);
        // The kernel took the default route away with its interface.
        namespace::inside(&context.netns(id), || {
            configure(&[], context.way_out(&after))
        })
    }

    /// Answers again for the containers that an earlier process answered for.
    pub(super) fn adopt(&self, context: &Context) -> Vec<NetworkError> {
        let mut failures = Vec::new();
        for record in context.records() {
            failures.extend(self.places(context, &record.endpoints).err());
            let Some(port) = record.resolver_port else {
                continue;
            };
            let sockets =
                namespace::inside(&context.netns(&record.id), || resolver::open(Some(port)));
            let started = sockets.and_then(|sockets| self.resolve(context, &record, Some(sockets)));
            failures.extend(started.err());
        }
        failures
    }
}

/// An endpoint that is about to be made.
struct Place {
    endpoint: Endpoint,
    network: Arc<Definition>,
    bridge: u32,
}

/// Opens a socket in the agent's own namespace.
fn open_kernel() -> Result<Netlink, NetworkError> {
    Netlink::open().map_err(NetworkError::kernel("open a netlink socket"))
}

/// Makes the veth pairs, each with one end in the container's namespace.
fn make_pairs(kernel: &mut Netlink, places: &[Place], own: &File) -> Result<(), NetworkError> {
    let pairs = places.iter().flat_map(|place| {
        let pair = netlink::create_veth(
            &place.endpoint.veth,
            place.bridge,
            &place.endpoint.interface,
            place.endpoint.mac,
            own.as_fd(),
            place.network.mtu(),
        );
        let isolates = place.network.isolates();
        let isolated = isolates.then(|| netlink::isolate_port(&place.endpoint.veth));
        std::iter::once(pair).chain(isolated)
    });
    let names: Vec<_> = places
        .iter()
        .map(|place| place.endpoint.veth.as_str())
        .collect();
    kernel
        .execute(pairs.collect())
        .map_err(NetworkError::kernel(format!(
            "create the network interface {}",
            names.join(", ")
        )))?;
    let bridges = places
        .iter()
        .map(|place| netlink::enlarge_pieces(place.bridge));
    // Without it things are slower; an older kernel has it not.
    let _ = kernel.execute(bridges.collect());
    Ok(())
}

/// The interface that a container's packets leave by, and the gateways there.
pub(super) type WayOut = Option<(String, Vec<IpAddr>)>;

/// Configures the calling thread's namespace, where the pairs' ends are already.
fn configure(places: &[Place], way_out: WayOut) -> Result<(), NetworkError> {
    let addresses: Vec<_> = places
        .iter()
        .flat_map(|place| place.endpoint.addresses())
        .map(|address| address.to_string())
        .collect();
    for Place { endpoint, .. } in places {
        for sysctl in &endpoint.sysctls {
            sysctl.set(&endpoint.interface)?;
        }
    }
    let configured = (|| -> io::Result<()> {
        let mut requests = vec![netlink::set_up("lo")];
        for Place {
            endpoint, network, ..
        } in places
        {
            let index = netlink::interface_index(&endpoint.interface)?;
            if endpoint.ipv6.is_some() || endpoint.link_local.iter().any(IpAddr::is_ipv6) {
                let setting = format!(
                    "/proc/sys/net/ipv6/conf/{}/disable_ipv6",
                    endpoint.interface
                );
                fs::write(setting, "0")?;
            }
            requests.push(netlink::set_up(&endpoint.interface));
            let subnets = [Some(&network.ipv4), network.ipv6.as_ref()];
            for (address, range) in endpoint.addresses().zip(subnets.into_iter().flatten()) {
                requests.push(netlink::add_address(index, address, range.subnet));
            }
            for address in &endpoint.link_local {
                // As Docker: of RFC 3927's network, and a link's of IPv6.
                let length = if address.is_ipv6() { 64 } else { 16 };
                let subnet = Prefix::of(*address, length);
                requests.push(netlink::add_address(index, *address, subnet));
            }
        }
        if let Some((interface, gateways)) = way_out {
            let index = netlink::interface_index(&interface)?;
            let routes = gateways.into_iter();
            requests.extend(routes.map(|gateway| netlink::set_default_route(index, gateway)));
        }
        Netlink::open()?.execute(requests)
    })();
    configured.map_err(NetworkError::kernel(format!(
        "give the container the address {}",
        addresses.join(", ")
    )))
}

impl Driver for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn validate(&self, context: &Context, request: &SetupRequest) -> Result<(), NetworkError> {
        if context.options.bridge.is_none() {
            return Err(NetworkError::BridgeDisabled);
        }
        context.check_endpoints(&request.endpoints)
    }

    fn setup(&self, context: &Context, request: &SetupRequest) -> Result<Record, NetworkError> {
        let default = [EndpointRequest {
            network: "bridge".to_owned(),
            ..EndpointRequest::default()
        }];
        let requests = match request.endpoints.as_slice() {
            [] => &default[..],
            given => given,
        };
        let record = context.reserve(new_record(request, NetworkMode::Bridge), requests)?;
        let places = self.places(context, &record.endpoints)?;
        let way_out = context.way_out(&record);
        let wants_resolver = context.wants_resolver(&record);
        let mut kernel = open_kernel()?;
        let made = namespace::create(&context.netns(&record.id), |own| {
            make_pairs(&mut kernel, &places, own)?;
            configure(&places, way_out)?;
            wants_resolver.then(|| resolver::open(None)).transpose()
        });
        match made {
            Ok(sockets) => self.resolve(context, &record, sockets)?,
            Err(error) => {
                // Whoever removed a bridge: the next container makes it again.
                let mut ready = lock(&self.ready);
                for place in &places {
                    ready.remove(&place.network.id);
                }
                return Err(error);
            }
        }
        context
            .record(&record.id)
            .ok_or(NetworkError::NotAttached(record.id))
    }

    fn teardown(&self, context: &Context, record: &Record) -> Vec<NetworkError> {
        context.drop_resolver(&record.id);
        let path = context.netns(&record.id);
        namespace::remove(&path).err().into_iter().collect()
    }

    /// Removes the veth pairs, for which the kernel waits through several RCU
    /// grace periods. The namespace's end would remove them too, but later still,
    /// and until then the bridge sends the address's packets to this port.
    fn reclaim(&self, _: &Context, record: &Record) -> Vec<NetworkError> {
        let pairs = record.endpoints.iter();
        pairs
            .filter_map(|endpoint| remove_link(&endpoint.veth).err())
            .collect()
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

/// Returns the ports of some bridges whose names `keep` does not know.
pub(super) fn other_ports(
    bridges: &[String],
    keep: impl Fn(&str) -> bool,
) -> Result<Vec<String>, NetworkError> {
    let links = Netlink::open()
        .and_then(|mut kernel| kernel.links())
        .map_err(NetworkError::kernel("list the network interfaces"))?;
    let ours: Vec<_> = links
        .iter()
        .filter(|link| bridges.contains(&link.name))
        .map(|link| Some(link.index))
        .collect();
    let ports = links
        .iter()
        .filter(|link| ours.contains(&link.controller) && link.name.starts_with("veth"));
    Ok(ports
        .map(|link| link.name.clone())
        .filter(|name| !keep(name))
        .collect())
}

fn create_bridge(network: &Definition) -> Result<u32, NetworkError> {
    let interface = &network.interface;
    let create = || {
        let mut kernel = Netlink::open()?;
        let mac = match network.ipv4.gateway {
            IpAddr::V4(gateway) => hardware_address(gateway),
            IpAddr::V6(_) => [2, 0, 0, 0, 0, 1],
        };
        let made = kernel.execute(vec![netlink::create_bridge(interface, mac, network.mtu())]);
        match made {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
            _ => {}
        }
        let index = netlink::interface_index(interface)?;
        let mut requests = vec![netlink::set_up(interface)];
        if network.ipv6.is_some() {
            fs::write(
                format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"),
                "0",
            )?;
        }
        for range in std::iter::once(&network.ipv4).chain(&network.ipv6) {
            requests.push(netlink::add_address(index, range.gateway, range.subnet));
        }
        kernel.execute(requests)?;
        Ok(index)
    };
    create().map_err(NetworkError::kernel(format!(
        "create the bridge {interface}"
    )))
}

fn enable_forwarding(network: &Definition) -> Result<(), NetworkError> {
    let write = |path: &str| fs::write(path, "1").map_err(NetworkError::file("write", path));
    write("/proc/sys/net/ipv4/ip_forward")?;
    match network.ipv6 {
        Some(_) => write("/proc/sys/net/ipv6/conf/all/forwarding"),
        None => Ok(()),
    }
}
