//! Containers' places on networks: taken and given back under one lock, so that
//! no address has two and no network goes while somebody is on it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::address::hardware_address;
use super::context::{Context, Live, State, lock};
use super::definition::Definition;
use super::pool::{AddressPool, Refusal};
use super::record::{Endpoint, Record};
use super::{EndpointRequest, NetworkError};

impl State {
    /// Adds a network.
    pub(super) fn add(&mut self, definition: Definition) {
        let id = definition.id.clone();
        self.networks.insert(id, Live::new(definition));
    }

    /// Finds a network by name, id or unambiguous beginning of its id.
    pub(super) fn find(&self, reference: &str) -> Result<Arc<Definition>, NetworkError> {
        let reference = if reference == "default" {
            "bridge"
        } else {
            reference
        };
        let mut all = self.networks.values().map(|live| &live.definition);
        let exact = all
            .clone()
            .find(|network| network.id == reference)
            .or_else(|| all.find(|network| network.name == reference));
        if let Some(network) = exact {
            return Ok(network.clone());
        }
        let mut fitting = self
            .networks
            .range(reference.to_owned()..)
            .take_while(|(id, _)| !reference.is_empty() && id.starts_with(reference));
        match (fitting.next(), fitting.next()) {
            (Some((_, live)), None) => Ok(live.definition.clone()),
            (Some(_), Some(_)) => Err(NetworkError::Invalid(format!(
                "network {reference} is ambiguous (several networks' ids begin so): give more of the id"
            ))),
            (None, _) => Err(NetworkError::UnknownNetwork(reference.to_owned())),
        }
    }

    /// Takes over a record that an earlier process left.
    pub(super) fn adopt(&mut self, record: Record) {
        for endpoint in &record.endpoints {
            let Some(live) = self.networks.get_mut(&endpoint.network) else {
                tracing::warn!(
                    container = record.id,
                    network = endpoint.network,
                    "the container's network is gone"
                );
                continue;
            };
            let names = record.names_on(endpoint);
            for address in endpoint.addresses() {
                let taken = live.pool(address).map(|pool| pool.reserve(address));
                if taken != Some(Ok(())) {
                    tracing::warn!(container = record.id, %address, "address is not of the range or held twice");
                }
                live.zone.insert(address, &names);
            }
        }
        self.records.insert(record.id.clone(), record);
    }

    /// Gives an endpoint's addresses back.
    pub(super) fn release(&mut self, endpoint: &Endpoint) {
        if let Some(live) = self.networks.get_mut(&endpoint.network) {
            for address in endpoint.addresses() {
                if let Some(pool) = live.pool(address) {
                    pool.release(address);
                }
            }
        }
    }

    /// Takes addresses on one more network for a container.
    fn take(
        &mut self,
        record: &Record,
        request: &EndpointRequest,
        interface: String,
    ) -> Result<Endpoint, NetworkError> {
        let network = self.find(&request.network)?;
        if record
            .endpoints
            .iter()
            .any(|endpoint| endpoint.network == network.id)
        {
            let name = record.names.first().unwrap_or(&record.id);
            return Err(NetworkError::Refused(format!(
                "endpoint with name {name} already exists in network {}",
                network.name
            )));
        }
        let veth = self.free_interface_name(record, &network.id);
        let id = new_id()?;
        let live = self
            .networks
            .get_mut(&network.id)
            .ok_or_else(|| NetworkError::UnknownNetwork(network.name.clone()))?;
        let ipv4 = take_address(&mut live.ipv4, request.ipv4.map(IpAddr::V4), &network)?;
        let ipv6 = match (&mut live.ipv6, request.ipv6) {
            (None, _) => Ok(None),
            (Some(pool), wanted) => take_address(pool, wanted.map(IpAddr::V6), &network).map(Some),
        };
        let ipv6 = ipv6.inspect_err(|_| live.ipv4.release(ipv4))?;
        let mac = request.mac.unwrap_or(match ipv4 {
            IpAddr::V4(address) => hardware_address(address),
            IpAddr::V6(_) => hardware_address(Ipv4Addr::UNSPECIFIED),
        });
        Ok(Endpoint {
            id,
            network: network.id.clone(),
            interface,
            veth,
            ipv4,
            ipv6,
            mac,
            aliases: lower(&request.aliases),
            gateway_priority: request.gateway_priority,
            sysctls: request.interface.sysctls.clone(),
            link_local: request.link_local.clone(),
        })
    }

    /// Returns "veth" and seven digits made of the ids (FNV-1a), the first such
    /// name that is free. Interface names are at most 15 bytes long.
    fn free_interface_name(&self, record: &Record, network: &str) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in record.id.bytes().chain(network.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let taken = |name: &str| {
            let mut endpoints = self
                .records
                .values()
                .chain([record])
                .flat_map(|record| &record.endpoints);
            endpoints.any(|endpoint| endpoint.veth == name)
        };
        loop {
            let name = format!("veth{:07x}", (hash ^ (hash >> 28)) & 0x0fff_ffff);
            if !taken(&name) {
                return name;
            }
            hash = hash.wrapping_add(1);
        }
    }
}

fn lower(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.to_lowercase()).collect()
}

/// Returns the name of a container's next interface: the one that is asked for, or the
/// first of eth0, eth1 and so on that it does not have and that none of `requests` asks
/// for.
fn interface_name(
    record: &Record,
    request: &EndpointRequest,
    requests: &[EndpointRequest],
) -> Result<String, NetworkError> {
    let has = |name: &str| {
        let mut endpoints = record.endpoints.iter();
        endpoints.any(|endpoint| endpoint.interface == name)
    };
    if let Some(name) = &request.interface.name {
        if has(name) {
            return Err(NetworkError::Refused(format!(
                "the container has an interface {name} already: give the one on network {} another name",
                request.network
            )));
        }
        return Ok(name.clone());
    }
    let wanted = |name: &str| {
        let mut names = requests.iter().map(|request| &request.interface.name);
        names.any(|wanted| wanted.as_deref() == Some(name))
    };
    let mut names = (0_usize..).map(|number| format!("eth{number}"));
    let free = names.find(|name| !has(name) && !wanted(name));
    Ok(free.unwrap_or_else(|| "eth0".to_owned()))
}

fn take_address(
    pool: &mut AddressPool,
    wanted: Option<IpAddr>,
    network: &Definition,
) -> Result<IpAddr, NetworkError> {
    let Some(wanted) = wanted else {
        let subnets: Vec<_> = network.subnets().map(|subnet| subnet.to_string()).collect();
        return pool.take().ok_or(NetworkError::AddressesExhausted {
            subnet: subnets.join(" and "),
        });
    };
    match pool.reserve(wanted) {
        Ok(()) => Ok(wanted),
        Err(Refusal::Taken) => Err(NetworkError::Refused(format!(
            "Address already in use: {wanted} on network {}",
            network.name
        ))),
        Err(Refusal::Outside) => Err(NetworkError::Invalid(format!(
            "invalid endpoint settings:\nno configured subnet contains IP address {wanted}"
        ))),
    }
}

/// Makes up an id of 64 hexadecimal digits.
pub(super) fn new_id() -> Result<String, NetworkError> {
    use std::io::Read as _;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(NetworkError::file("read", "/dev/urandom"))?;
    Ok(hex::encode(bytes))
}

/// Checks what a container asks of a network, in Docker's words.
fn check_endpoint(network: &Definition, request: &EndpointRequest) -> Result<(), NetworkError> {
    let invalid = |why: &str| Err(NetworkError::Invalid(why.to_owned()));
    let addressed = request.ipv4.is_some() || request.ipv6.is_some();
    if network.is_default() {
        if !request.aliases.is_empty() {
            return invalid(
                "network-scoped alias is supported only for containers in user defined networks",
            );
        }
        if addressed {
            return invalid(
                "invalid endpoint settings:\nuser specified IP address is supported on user defined networks only",
            );
        }
    }
    let unconfigured = request.ipv4.is_some() && !network.ipv4.configured
        || request.ipv6.is_some() && !network.ipv6.as_ref().is_some_and(|range| range.configured);
    if unconfigured {
        return invalid(
            "invalid endpoint settings:\nuser specified IP address is supported only when connecting to networks with user configured subnets",
        );
    }
    let ranges = [Some(&network.ipv4), network.ipv6.as_ref()];
    let wanted = [request.ipv4.map(IpAddr::V4), request.ipv6.map(IpAddr::V6)];
    for (range, wanted) in ranges.into_iter().zip(wanted) {
        let Some(wanted) = wanted else { continue };
        let possible = range.is_some_and(|range| {
            range.subnet.contains(wanted)
                && wanted != range.subnet.network()
                && (wanted.is_ipv6() || wanted != range.subnet.last())
        });
        if !possible {
            return invalid(&format!(
                "invalid endpoint settings:\nno configured subnet contains IP address {wanted}"
            ));
        }
    }
    Ok(())
}

impl Context {
    /// Finds a network by name, id or unambiguous beginning of its id.
    pub(super) fn find(&self, reference: &str) -> Result<Arc<Definition>, NetworkError> {
        lock(&self.state).find(reference)
    }

    /// Checks what a container asks of its networks, as far as that does not
    /// change with who else is there.
    pub(super) fn check_endpoints(&self, requests: &[EndpointRequest]) -> Result<(), NetworkError> {
        for request in requests {
            check_endpoint(&*self.find(&request.network)?, request)?;
        }
        Ok(())
    }

    /// Keeps a record with addresses and interfaces on some more networks, all
    /// or none. From here on its names are answered.
    pub(super) fn reserve(
        &self,
        mut record: Record,
        requests: &[EndpointRequest],
    ) -> Result<Record, NetworkError> {
        let mut state = lock(&self.state);
        let before = record.endpoints.len();
        let undo = |state: &mut State, record: &Record| {
            for endpoint in &record.endpoints[before..] {
                state.release(endpoint);
            }
        };
        for request in requests {
            let taken = state
                .find(&request.network)
                .and_then(|network| check_endpoint(&network, request))
                .and_then(|()| interface_name(&record, request, requests))
                .and_then(|interface| state.take(&record, request, interface));
            match taken {
                Ok(endpoint) => record.endpoints.push(endpoint),
                Err(error) => {
                    undo(&mut state, &record);
                    return Err(error);
                }
            }
            let links = request.links.iter();
            record
                .links
                .extend(links.map(|(alias, name)| (alias.to_lowercase(), name.to_lowercase())));
        }
        if let Err(error) = self.folder.write(&record) {
            undo(&mut state, &record);
            return Err(error);
        }
        for endpoint in &record.endpoints[before..] {
            if let Some(live) = state.networks.get(&endpoint.network) {
                let names = record.names_on(endpoint);
                endpoint
                    .addresses()
                    .for_each(|address| live.zone.insert(address, &names));
            }
        }
        state.records.insert(record.id.clone(), record.clone());
        Ok(record)
    }

    /// Keeps a container's record without an endpoint, whose addresses come
    /// back.
    pub(super) fn give_up(&self, record: Record, endpoint: &Endpoint) -> Result<(), NetworkError> {
        self.folder.write(&record)?;
        let mut state = lock(&self.state);
        if let Some(live) = state.networks.get(&endpoint.network) {
            endpoint
                .addresses()
                .for_each(|address| live.zone.remove(address));
        }
        state.release(endpoint);
        state.records.insert(record.id.clone(), record);
        Ok(())
    }

    /// Gives a running container other names, of which networks know at once.
    pub(super) fn set_names(&self, id: &str, names: &[String]) -> Result<(), NetworkError> {
        let mut state = lock(&self.state);
        let State { records, networks } = &mut *state;
        let Some(record) = records.get_mut(id).filter(|record| !record.leaving) else {
            return Ok(());
        };
        record.names = super::driver::full_names(names, id);
        for endpoint in &record.endpoints {
            if let Some(live) = networks.get(&endpoint.network) {
                let names = record.names_on(endpoint);
                endpoint
                    .addresses()
                    .for_each(|address| live.zone.insert(address, &names));
            }
        }
        self.folder.write(record)
    }

    /// Forgets a running container's own name for another.
    pub(super) fn unlink(&self, id: &str, alias: &str) -> Result<(), NetworkError> {
        let mut state = lock(&self.state);
        let Some(record) = state.records.get_mut(id) else {
            return Ok(());
        };
        let alias = alias.to_lowercase();
        record.links.retain(|(known, _)| *known != alias);
        self.folder.write(record)
    }
}
