//! Networks as users make and remove them, and containers that move between
//! them while they run.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::context::{Context, lock};
use super::definition::{Definition, INTERFACE_OPTION};
use super::netlink::{self, Netlink};
use super::plan::plan;
use super::prefix::Prefix;
use super::service::{Network, Shared, checked};
use super::{AttachedEndpoint, EndpointRequest, NetworkError, NetworkMode, NewNetwork};

impl Network {
    /// Makes a network. Where the user chose no subnet, one is chosen that
    /// overlaps no network of the guest's and none of `avoided`, the host's.
    ///
    /// # Errors
    /// In Docker's words, where it cannot be; nothing is left then.
    pub(crate) async fn create(
        &self,
        request: NewNetwork,
        avoided: Vec<Prefix>,
    ) -> Result<Arc<Definition>, NetworkError> {
        let name = request.name.clone();
        self.blocking(&name, move |shared| shared.create(request, &avoided))
            .await?
    }

    /// Removes a network. `name` tells a container's name by its id.
    ///
    /// # Errors
    /// [`NetworkError::Refused`] while a running container is on it, or where it
    /// is one of those that are always there.
    pub(crate) async fn remove_network(
        &self,
        id: &str,
        name: impl Fn(&str) -> String + Send + 'static,
    ) -> Result<(), NetworkError> {
        let owned = id.to_owned();
        self.blocking(id, move |shared| shared.remove_network(&owned, name))
            .await?
    }

    /// Connects a running container to one more network; the connections that
    /// it has go on.
    ///
    /// # Errors
    /// Where it cannot be; the container is then as it was.
    pub(crate) async fn connect(
        &self,
        id: &str,
        request: EndpointRequest,
    ) -> Result<(), NetworkError> {
        let owned = id.to_owned();
        self.blocking(id, move |shared| {
            let _turn = shared.context.turn(checked(&owned)?);
            shared.movable(&owned)?;
            shared.bridge.connect(&shared.context, &owned, &request)
        })
        .await?
    }

    /// Takes a running container from a network; its connections on others go
    /// on.
    ///
    /// # Errors
    /// Where it is not on it, or the kernel refuses.
    pub(crate) async fn disconnect(&self, id: &str, network: &str) -> Result<(), NetworkError> {
        let (owned, network) = (id.to_owned(), network.to_owned());
        self.blocking(id, move |shared| {
            let _turn = shared.context.turn(checked(&owned)?);
            shared.movable(&owned)?;
            shared.bridge.disconnect(&shared.context, &owned, &network)
        })
        .await?
    }

    /// Gives a running container other names; fine if it does not run.
    ///
    /// # Errors
    /// When its record cannot be written.
    pub(crate) fn rename(&self, id: &str, names: &[String]) -> Result<(), NetworkError> {
        self.shared.context.set_names(id, names)
    }

    /// Returns every bridge network, the default one first, then by age.
    pub(crate) fn networks(&self) -> Vec<Arc<Definition>> {
        self.shared.context.networks()
    }

    /// Finds a bridge network by name, id or unambiguous beginning of its id.
    ///
    /// # Errors
    /// [`NetworkError::UnknownNetwork`], or [`NetworkError::Invalid`] where
    /// several fit.
    pub(crate) fn find_network(&self, reference: &str) -> Result<Arc<Definition>, NetworkError> {
        self.shared.context.find(reference)
    }

    /// Checks what a container asks of its networks, as far as that does not
    /// change with who else is there.
    ///
    /// # Errors
    /// In Docker's words.
    pub(crate) fn check_endpoints(&self, requests: &[EndpointRequest]) -> Result<(), NetworkError> {
        self.shared.context.check_endpoints(requests)
    }

    /// Returns the running containers that are on a network, each with its place.
    pub(crate) fn members(&self, network: &str) -> Vec<(String, AttachedEndpoint)> {
        let context = &self.shared.context;
        let attached = context
            .records()
            .into_iter()
            .filter(|record| !record.leaving);
        let mut members = Vec::new();
        for record in attached {
            let mut endpoints = context.attachment(&record).endpoints.into_iter();
            if record.mode == NetworkMode::Bridge
                && let Some(endpoint) = endpoints.find(|endpoint| endpoint.network == network)
            {
                members.push((record.id, endpoint));
            }
        }
        members
    }

    /// Returns the running containers that have the guest's own network, or
    /// none at all.
    pub(crate) fn members_of_mode(&self, mode: &NetworkMode) -> Vec<String> {
        let records = self.shared.context.records().into_iter();
        let of_mode = records.filter(|record| !record.leaving && record.mode == *mode);
        of_mode.map(|record| record.id).collect()
    }

    /// Returns the files of networks that cannot be used, with what is wrong.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub(crate) fn damaged_records(
        &self,
    ) -> Result<Vec<(std::path::PathBuf, String)>, NetworkError> {
        Ok(self.shared.context.definitions.read_all()?.1)
    }
}

impl Shared {
    fn create(
        &self,
        request: NewNetwork,
        avoided: &[Prefix],
    ) -> Result<Arc<Definition>, NetworkError> {
        let context = &self.context;
        if context.options.bridge.is_none() {
            return Err(NetworkError::BridgeDisabled);
        }
        let _changing = lock(&context.changing);
        let networks = context.networks();
        if networks.iter().any(|network| network.name == request.name) && request.name != "bridge" {
            return Err(NetworkError::Exists(request.name));
        }
        let mut taken: Vec<Prefix> = networks
            .iter()
            .flat_map(|network| network.subnets())
            .collect();
        taken.extend(guest_routes(context)?);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_nanos() as i64);
        let definition = plan(request, super::endpoint::new_id()?, now, &taken, avoided)?;
        let interface = &definition.interface;
        let named = definition.options.contains_key(INTERFACE_OPTION);
        let has_it = networks
            .iter()
            .any(|network| network.interface == *interface);
        if named && (has_it || netlink::interface_index(interface).is_ok()) {
            return Err(NetworkError::Refused(format!(
                "there is an interface {interface} already: give another name in {INTERFACE_OPTION}"
            )));
        }
        context.definitions.write(&definition)?;
        let id = definition.id.clone();
        lock(&context.state).add(definition);
        context.definition(&id)
    }

    fn remove_network(&self, id: &str, name: impl Fn(&str) -> String) -> Result<(), NetworkError> {
        let context = &self.context;
        let _changing = lock(&context.changing);
        let definition = context.definition(id)?;
        if definition.is_default() {
            return Err(NetworkError::Refused(
                "bridge is a pre-defined network and cannot be removed".to_owned(),
            ));
        }
        let live = {
            let mut state = lock(&context.state);
            let records = state.records.values().filter(|record| !record.leaving);
            let users = records.filter(|record| {
                let mut endpoints = record.endpoints.iter();
                endpoints.any(|endpoint| endpoint.network == id)
            });
            let users: Vec<_> = users
                .map(|record| {
                    let short = record.id.get(..12).unwrap_or(&record.id);
                    format!("name:\"{}\" id:\"{short}\"", name(&record.id))
                })
                .collect();
            if !users.is_empty() {
                return Err(NetworkError::Refused(format!(
                    "error while removing network: network {} has active endpoints ({})",
                    definition.name,
                    users.join(", ")
                )));
            }
            // From here on nobody gets onto it.
            state.networks.remove(id)
        };
        // The record last: a process killed in between leaves a whole network,
        // whose bridge its next container brings back.
        let removed = self
            .bridge
            .remove(&definition)
            .and_then(|()| context.definitions.remove(id));
        if removed.is_err()
            && let Some(live) = live
        {
            lock(&context.state).networks.insert(id.to_owned(), live);
        }
        removed
    }

    /// Refuses containers that are on no bridge network.
    fn movable(&self, id: &str) -> Result<(), NetworkError> {
        let record = self
            .context
            .attached(id)
            .ok_or_else(|| NetworkError::NotAttached(id.to_owned()))?;
        movable(&record.mode)
    }
}

/// Refuses the modes with which a container is on no bridge network, in
/// Docker's words.
///
/// # Errors
/// [`NetworkError::Refused`].
pub(crate) fn movable(mode: &NetworkMode) -> Result<(), NetworkError> {
    Err(NetworkError::Refused(
        match mode {
            NetworkMode::Bridge => return Ok(()),
            NetworkMode::Host => {
                "container cannot be disconnected from host network or connected to host network"
            }
            NetworkMode::None => {
                "container cannot be connected to multiple networks with one of the networks in private (none) mode"
            }
            NetworkMode::Container(_) => {
                "container sharing network namespace with another container or host cannot be connected to any other network"
            }
        }
        .to_owned(),
    ))
}

/// Returns the networks that the guest itself has routes to, without those of
/// its bridges.
fn guest_routes(context: &Context) -> Result<Vec<Prefix>, NetworkError> {
    let ours: Vec<u32> = context
        .networks()
        .iter()
        .filter_map(|network| netlink::interface_index(&network.interface).ok())
        .collect();
    let routes = Netlink::open()
        .and_then(|mut kernel| kernel.routes())
        .map_err(NetworkError::kernel("list the routes"))?;
    let link_local = |prefix: &Prefix| prefix.is_ipv6() && prefix.to_string().starts_with("fe80:");
    Ok(routes
        .into_iter()
        .filter(|(prefix, interface)| !ours.contains(interface) && !link_local(prefix))
        .map(|(prefix, _)| prefix)
        .collect())
}
