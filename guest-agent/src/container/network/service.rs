//! Making, listing and removing networks.

use std::collections::BTreeMap;
use std::sync::Arc;

use wherry_proto::v1;

use super::network_error;
use crate::container::error::Error;
use crate::container::{Containers, to_the_end};
use crate::network::{Definition, NewNetwork, NewRange, Prefix, predefined_id};

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
}

/// Returns the name of a network that is always there and no bridge.
pub(super) fn predefined(reference: &str) -> Option<&'static str> {
    let fits = |name: &&str| {
        let id = predefined_id(name);
        reference == *name || (reference.len() >= 12 && id.starts_with(reference))
    };
    ["host", "none"].into_iter().find(fits)
}

pub(super) fn driver_of(name: &str) -> &'static str {
    match name {
        "host" => "host",
        "none" => "null",
        _ => "bridge",
    }
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
