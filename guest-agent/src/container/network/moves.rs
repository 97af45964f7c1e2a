//! Moving containers between networks, and what is told of it.

use std::sync::Arc;

use wherry_proto::v1;
use wherry_proto::v1::NetworkAttachment;

use super::files::refresh;
use super::network_error;
use super::service::{driver_of, predefined};
use super::wanted::mode;
use crate::container::error::Error;
use crate::container::record::Status;
use crate::container::{Container, Containers, to_the_end};
use crate::network::{Attachment, NetworkMode, movable, predefined_id};

impl Containers {
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

    pub(super) fn publish_network(
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
pub(super) fn networks(container: &Container) -> Vec<NetworkAttachment> {
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
