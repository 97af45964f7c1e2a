//! Making, listing and removing networks, and moving containers between them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wherry_proto::v1;
use wherry_proto::v1::NetworkAttachment;

use super::files::refresh;
use super::network_error;
use super::wanted::mode;
use crate::container::error::Error;
use crate::container::record::{Address, Status, timestamp};
use crate::container::{Container, Containers, to_the_end};
use crate::network::{
    AttachedEndpoint, Attachment, Definition, NetworkMode, NewNetwork, NewRange, Prefix, Range,
    movable, predefined_id,
};

/// Options of Docker's bridges that mean nothing here, and why.
const IDLE_OPTIONS: [(&str, &str); 2] = [
    (
        "com.docker.network.bridge.enable_icc",
        "containers on one network always reach each other",
    ),
    (
        "com.docker.network.bridge.host_binding_ipv4",
        "give the address with -p",
    ),
];

impl Containers {
    /// Makes a network. Returns its id and what the user should know.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the request; nothing is left then.
    pub(crate) async fn create_network(
        self: &Arc<Self>,
        request: v1::CreateNetworkRequest,
    ) -> Result<v1::CreateNetworkResponse, Error> {
        let avoided = request.host_routes.iter();
        // A route that cannot be read is one of a form yet to come.
        let avoided: Vec<Prefix> = avoided.filter_map(|route| route.parse().ok()).collect();
        let idle = IDLE_OPTIONS.iter();
        let idle = idle.filter(|(name, _)| request.options.contains_key(*name));
        let warnings = idle
            .map(|(name, why)| format!("The option {name} has no effect: {why}"))
            .collect();
        let containers = self.clone();
        to_the_end(async move {
            let network = containers.network.create(new_network(request), avoided);
            let network = network.await.map_err(network_error)?;
            containers.publish_network(&network.id, &network.name, "bridge", "create", None);
            Ok(v1::CreateNetworkResponse {
                id: network.id.clone(),
                warnings,
            })
        })
        .await
    }

    /// Returns every network, those that are always there among them.
    pub(crate) fn list_networks(&self) -> Vec<v1::Network> {
        let users = self.network_users();
        let mut networks: Vec<_> = self
            .network
            .networks()
            .iter()
            .map(|network| self.describe_network(network, &users))
            .collect();
        for name in ["host", "none"] {
            networks.push(self.predefined_network(name, &users));
        }
        networks
    }

    /// Finds a network by name, id or unambiguous beginning of its id.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNetwork`].
    pub(crate) fn inspect_network(&self, reference: &str) -> Result<v1::Network, Error> {
        let users = self.network_users();
        if let Some(name) = predefined(reference) {
            return Ok(self.predefined_network(name, &users));
        }
        let network = self.network.find_network(reference);
        let network = network.map_err(network_error)?;
        Ok(self.describe_network(&network, &users))
    }

    /// Removes a network; with `force` it is no fault that there is none.
    ///
    /// # Errors
    ///
    /// [`Error::State`] while running containers are on it, or where it is
    /// always there.
    pub(crate) async fn remove_network(
        self: &Arc<Self>,
        reference: &str,
        force: bool,
    ) -> Result<(), Error> {
        if let Some(name) = predefined(reference) {
            return Err(Error::State(format!(
                "{name} is a pre-defined network and cannot be removed"
            )));
        }
        let network = match self.network.find_network(reference).map_err(network_error) {
            Err(Error::NoSuchNetwork(_)) if force => return Ok(()),
            found => found?,
        };
        let containers = self.clone();
        to_the_end(async move { containers.remove_found(&network).await }).await
    }

    async fn remove_found(self: &Arc<Self>, network: &Definition) -> Result<(), Error> {
        let containers = self.clone();
        let name = move |id: &str| {
            let found = containers.find(id);
            found.map_or_else(|_| id.to_owned(), |container| container.name())
        };
        let removed = self.network.remove_network(&network.id, name).await;
        removed.map_err(network_error)?;
        self.publish_network(&network.id, &network.name, "bridge", "destroy", None);
        Ok(())
    }

    /// Removes the networks that no container has, running or not, and returns
    /// their names.
    ///
    /// # Errors
    ///
    /// The first failure; those removed until then are gone.
    pub(crate) async fn prune_networks(
        self: &Arc<Self>,
        request: v1::PruneNetworksRequest,
    ) -> Result<Vec<String>, Error> {
        let containers = self.clone();
        to_the_end(async move {
            let mut removed = Vec::new();
            for network in containers.network.networks() {
                let until = request.until_ns;
                let has = |label: &String| has(&network, label);
                let wanted = !network.is_default()
                    && (until == 0 || network.created < until)
                    && request.labels.iter().all(has)
                    && !request.without_labels.iter().any(has);
                if !wanted || containers.network_users().contains_key(&network.name) {
                    continue;
                }
                match containers.remove_found(&network).await {
                    // Somebody has come onto it, or has removed it.
                    Err(Error::State(_) | Error::NoSuchNetwork(_)) => {}
                    gone => {
                        gone?;
                        removed.push(network.name.clone());
                    }
                }
            }
            Ok(removed)
        })
        .await
    }

    /// Connects a container, running or not, to one more network.
    ///
    /// # Errors
    ///
    /// Where it cannot be; the container is then as it was.
    pub(crate) async fn connect_network(
        self: &Arc<Self>,
        reference: &str,
        attachment: NetworkAttachment,
    ) -> Result<(), Error> {
        let container = self.find(reference)?;
        let containers = self.clone();
        to_the_end(async move { containers.connect_now(&container, attachment).await }).await
    }

    async fn connect_now(
        &self,
        container: &Arc<Container>,
        mut attachment: NetworkAttachment,
    ) -> Result<(), Error> {
        let _turn = container.turn.clone().lock_owned().await;
        let mode = movable_mode(container)?;
        if predefined(&attachment.network).is_some() {
            movable(&self::mode(&attachment.network)).map_err(network_error)?;
        }
        movable(&mode).map_err(network_error)?;
        let network = self.network.find_network(&attachment.network);
        let network = network.map_err(network_error)?;
        attachment.network.clone_from(&network.name);
        let running = container.status() == Status::Running;
        let request = self.endpoint_request(&attachment, running)?;
        self.network
            .check_endpoints(std::slice::from_ref(&request))
            .map_err(network_error)?;
        let networks = networks(container);
        if networks.iter().any(|has| has.network == network.name) {
            return Err(Error::State(format!(
                "endpoint with name {} already exists in network {}",
                container.name(),
                network.name
            )));
        }
        if running {
            let before = self.network.attachment(&container.id);
            self.network
                .connect(&container.id, request)
                .await
                .map_err(network_error)?;
            self.refresh(container, before.as_ref())?;
        }
        container.update(|record| {
            record.spec.networks = networks;
            record.spec.networks.push(attachment);
        })?;
        let id = Some(container.id.as_str());
        self.publish_network(&network.id, &network.name, "bridge", "connect", id);
        Ok(())
    }

    /// Takes a container, running or not, from a network; with `force` it is no
    /// fault that it is not on it.
    ///
    /// # Errors
    ///
    /// Where it is not on the network, or cannot leave it.
    pub(crate) async fn disconnect_network(
        self: &Arc<Self>,
        reference: &str,
        network: &str,
        force: bool,
    ) -> Result<(), Error> {
        let container = self.find(reference)?;
        let (containers, network) = (self.clone(), network.to_owned());
        to_the_end(async move { containers.disconnect_now(&container, &network, force).await })
            .await
    }

    async fn disconnect_now(
        &self,
        container: &Arc<Container>,
        network: &str,
        force: bool,
    ) -> Result<(), Error> {
        let _turn = container.turn.clone().lock_owned().await;
        if predefined(network).is_some() {
            movable(&self::mode(network)).map_err(network_error)?;
        }
        movable(&movable_mode(container)?).map_err(network_error)?;
        let network = self.network.find_network(network).map_err(network_error)?;
        let mut networks = networks(container);
        let before = networks.len();
        networks.retain(|has| has.network != network.name);
        if networks.len() == before {
            if force {
                return Ok(());
            }
            return Err(Error::State(format!(
                "container {} is not connected to network {}",
                container.id, network.name
            )));
        }
        if container.status() == Status::Running {
            let before = self.network.attachment(&container.id);
            self.network
                .disconnect(&container.id, &network.id)
                .await
                .map_err(network_error)?;
            self.refresh(container, before.as_ref())?;
        }
        container.update(|record| {
            if networks.is_empty() {
                // What starts without a network is on the default one.
                "bridge".clone_into(&mut record.spec.network);
            }
            record.spec.networks = networks;
        })?;
        let id = Some(container.id.as_str());
        self.publish_network(&network.id, &network.name, "bridge", "disconnect", id);
        Ok(())
    }

    /// Notes a running container's new place in its record and files.
    fn refresh(&self, container: &Container, before: Option<&Attachment>) -> Result<(), Error> {
        let Some(after) = self.network.attachment(&container.id) else {
            return Ok(());
        };
        if let Some(before) = before {
            refresh(container, before, &after);
        }
        container.update(|record| record.state.place(&after))
    }

    /// Tells of the networks that a container came onto or left, with its start
    /// or end.
    pub(in crate::container) fn publish_networks(
        &self,
        container: &Container,
        action: &str,
        places: &[v1::NetworkEndpoint],
    ) {
        let record = container.record();
        let id = Some(container.id.as_str());
        match mode(&record.spec.network) {
            NetworkMode::Container(_) => {}
            NetworkMode::Bridge => {
                for place in places {
                    let name = &place.network_name;
                    self.publish_network(&place.network, name, "bridge", action, id);
                }
            }
            _ => {
                let name = record.spec.network.as_str();
                let driver = driver_of(name);
                self.publish_network(&predefined_id(name), name, driver, action, id);
            }
        }
    }

    fn publish_network(
        &self,
        id: &str,
        name: &str,
        driver: &str,
        action: &str,
        container: Option<&str>,
    ) {
        let container = container.map(|id| ("container", id.to_owned()));
        let attributes = [("name", name.to_owned()), ("type", driver.to_owned())];
        let attributes = attributes.into_iter().chain(container);
        self.events.publish("network", action, id, attributes);
    }

    /// Returns how many containers, running or not, have each network, by name.
    fn network_users(&self) -> HashMap<String, u32> {
        let mut users = HashMap::new();
        for container in self.all() {
            for attachment in networks(&container) {
                *users.entry(attachment.network).or_default() += 1;
            }
        }
        users
    }

    fn describe_network(&self, network: &Definition, users: &HashMap<String, u32>) -> v1::Network {
        let member = |(id, endpoint): (String, AttachedEndpoint)| v1::NetworkMember {
            name: self.name_of(&id),
            container: id,
            endpoint: Some(endpoint_message(&endpoint)),
        };
        let subnet = |range: &Range| v1::Subnet {
            subnet: range.subnet.to_string(),
            gateway: range.gateway.to_string(),
            range: range
                .range
                .map_or_else(String::new, |range| range.to_string()),
            auxiliary: range
                .auxiliary
                .iter()
                .map(|(name, address)| (name.clone(), address.to_string()))
                .collect(),
        };
        v1::Network {
            id: network.id.clone(),
            name: network.name.clone(),
            driver: "bridge".to_owned(),
            created: timestamp(network.created),
            subnets: std::iter::once(&network.ipv4)
                .chain(&network.ipv6)
                .map(subnet)
                .collect(),
            internal: network.internal,
            ipv6: network.ipv6.is_some(),
            labels: network.labels.clone().into_iter().collect(),
            options: network.options.clone().into_iter().collect(),
            members: self
                .network
                .members(&network.id)
                .into_iter()
                .map(member)
                .collect(),
            users: users.get(&network.name).copied().unwrap_or(0),
        }
    }

    fn predefined_network(&self, name: &str, users: &HashMap<String, u32>) -> v1::Network {
        let members = self.network.members_of_mode(&mode(name));
        let member = |id: String| v1::NetworkMember {
            name: self.name_of(&id),
            container: id,
            endpoint: None,
        };
        v1::Network {
            id: predefined_id(name),
            name: name.to_owned(),
            driver: driver_of(name).to_owned(),
            members: members.into_iter().map(member).collect(),
            users: users.get(name).copied().unwrap_or(0),
            ..v1::Network::default()
        }
    }

    fn name_of(&self, id: &str) -> String {
        let found = self.find(id);
        found.map_or_else(|_| String::new(), |container| container.name())
    }
}

/// Returns the name of a network that is always there and no bridge.
fn predefined(reference: &str) -> Option<&'static str> {
    let fits = |name: &&str| {
        let id = predefined_id(name);
        reference == *name || (reference.len() >= 12 && id.starts_with(reference))
    };
    ["host", "none"].into_iter().find(fits)
}

fn driver_of(name: &str) -> &'static str {
    match name {
        "host" => "host",
        "none" => "null",
        _ => "bridge",
    }
}

/// Returns a container's mode; a container that is on its way out has none.
fn movable_mode(container: &Container) -> Result<NetworkMode, Error> {
    if container.phase.borrow().removed {
        return Err(Error::NotFound(container.id.clone()));
    }
    Ok(mode(&container.cell().record.spec.network))
}

/// Returns the networks that a container has, the default one where nothing was
/// said.
fn networks(container: &Container) -> Vec<NetworkAttachment> {
    let spec = &container.cell().record.spec;
    if !spec.networks.is_empty() {
        return spec.networks.clone();
    }
    let network = match spec.network.as_str() {
        "" | "default" => "bridge",
        network if network.starts_with("container:") => return Vec::new(),
        network => network,
    };
    vec![NetworkAttachment {
        network: network.to_owned(),
        ..NetworkAttachment::default()
    }]
}

/// Tells whether a network has the label `key` or `key=value`.
fn has(network: &Definition, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => network.labels.get(key).is_some_and(|label| label == value),
        None => network.labels.contains_key(wanted),
    }
}

fn new_network(request: v1::CreateNetworkRequest) -> NewNetwork {
    let range = |subnet: v1::Subnet| NewRange {
        subnet: subnet.subnet,
        gateway: subnet.gateway,
        range: subnet.range,
        auxiliary: subnet.auxiliary.into_iter().collect::<BTreeMap<_, _>>(),
    };
    NewNetwork {
        name: request.name,
        driver: request.driver,
        ranges: request.subnets.into_iter().map(range).collect(),
        internal: request.internal,
        ipv6: request.ipv6,
        labels: request.labels.into_iter().collect(),
        options: request.options.into_iter().collect(),
    }
}

fn endpoint_message(endpoint: &AttachedEndpoint) -> v1::NetworkEndpoint {
    let text = |address: Option<std::net::IpAddr>| {
        address.map_or_else(String::new, |address| address.to_string())
    };
    let (ipv6, ipv6_length) = endpoint.ipv6.unzip();
    v1::NetworkEndpoint {
        network: endpoint.network.clone(),
        network_name: endpoint.network_name.clone(),
        endpoint: endpoint.id.clone(),
        ip_address: endpoint.ipv4.to_string(),
        prefix_length: endpoint.prefix_length.into(),
        gateway: text(endpoint.gateway),
        ipv6_address: text(ipv6),
        ipv6_prefix_length: ipv6_length.unwrap_or(0).into(),
        ipv6_gateway: text(endpoint.ipv6_gateway),
        mac_address: endpoint.mac.clone(),
        names: endpoint.names.clone(),
    }
}

impl crate::container::record::State {
    /// Notes where the container is in its networks.
    pub(in crate::container) fn place(&mut self, attachment: &Attachment) {
        let text = |address: Option<std::net::Ipv4Addr>| {
            address.map_or_else(String::new, |address| address.to_string())
        };
        self.address = Address {
            ip: text(attachment.address),
            prefix_length: attachment.prefix_length.into(),
            gateway: text(attachment.gateway),
            mac: attachment.mac.clone().unwrap_or_default(),
        };
        self.endpoints = attachment.endpoints.iter().map(endpoint_message).collect();
    }
}
