//! Host ports of containers, kept in step with the containers: bound before the
//! start, closed when the container ends, whoever ends it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tonic::Status;
use tonic::transport::Channel;
use wherry_client::Home;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::machine_client::MachineClient;
use wherry_proto::v1::{
    Container, InspectContainerRequest, ListContainersRequest, ListPublishedRequest, PortBinding,
    PublishRequest, PublishResponse, PublishedPort, StartContainerRequest, UnpublishRequest,
    container,
};

type Turn = Arc<tokio::sync::Mutex<()>>;

/// The published ports, as the machine process holds them.
#[derive(Clone)]
pub(super) struct Ports {
    home: Home,
    /// One turn for each container, so that closing the ports of a container
    /// that ended never overtakes its next start. The lock is held across
    /// calls, but only against the same container's own start and end.
    turns: Arc<Mutex<HashMap<String, Turn>>>,
}

impl Ports {
    pub(super) fn new(home: Home) -> Self {
        Self {
            home,
            turns: Arc::default(),
        }
    }

    /// Binds a container's ports on the host, all or none.
    pub(super) async fn publish(
        &self,
        container: &str,
        ports: &[PortBinding],
        guest: &Channel,
    ) -> Result<Publication, Status> {
        let turn = self.turn(container).await;
        let published = self.publish_in_turn(container, ports, turn).await;
        if !matches!(&published, Err(status) if status.code() == tonic::Code::AlreadyExists) {
            return published;
        }
        // Who has them may have ended a moment ago. Without this container's turn,
        // for two that wait for each other's would wait for ever.
        self.settle_all(guest, |port| {
            ports.iter().any(|wanted| may_meet(wanted, port))
        })
        .await?;
        let turn = self.turn(container).await;
        self.publish_in_turn(container, ports, turn).await
    }

    async fn publish_in_turn(
        &self,
        container: &str,
        ports: &[PortBinding],
        turn: OwnedMutexGuard<()>,
    ) -> Result<Publication, Status> {
        let request = PublishRequest {
            container: container.to_owned(),
            ports: ports.iter().map(to_published).collect(),
            best_effort: false,
        };
        let bound = self.machine().await?.publish(request).await?.into_inner();
        Ok(Publication {
            ports: self.clone(),
            container: container.to_owned(),
            bound: bound.ports.iter().map(to_binding).collect(),
            turn: Some(turn),
        })
    }

    /// Binds what can be bound of a container's ports.
    pub(super) async fn publish_what_can_be(
        &self,
        request: PublishRequest,
    ) -> Result<PublishResponse, Status> {
        let _turn = self.turn(&request.container).await;
        Ok(self.machine().await?.publish(request).await?.into_inner())
    }

    /// Closes a container's ports unless it runs.
    pub(super) async fn settle(&self, container: &str, guest: Channel) -> Result<(), Status> {
        let _turn = self.turn(container).await;
        self.settle_in_turn(container, guest).await
    }

    async fn settle_in_turn(&self, container: &str, guest: Channel) -> Result<(), Status> {
        let found = ContainersClient::new(guest)
            .inspect(InspectContainerRequest {
                container: container.to_owned(),
            })
            .await;
        let running = match found {
            Ok(found) => matches!(
                found.get_ref().status(),
                container::Status::Running
                    | container::Status::Paused
                    | container::Status::Restarting
            ),
            Err(status) if status.code() == tonic::Code::NotFound => false,
            Err(status) => return Err(status),
        };
        if !running {
            let request = UnpublishRequest {
                container: container.to_owned(),
            };
            self.machine().await?.unpublish(request).await?;
        }
        Ok(())
    }

    /// Closes the ports of every container that does not run, of those that have such
    /// a port.
    pub(super) async fn settle_all(
        &self,
        guest: &Channel,
        has: impl Fn(&PublishedPort) -> bool,
    ) -> Result<(), Status> {
        let published = self
            .machine()
            .await?
            .list_published(ListPublishedRequest {})
            .await?
            .into_inner();
        let published = published.published.into_iter();
        for entry in published.filter(|entry| entry.ports.iter().any(&has)) {
            self.settle(&entry.container, guest.clone()).await?;
        }
        Ok(())
    }

    /// Binds the ports of every container that started by its restart policy
    /// when the machine did.
    pub(super) async fn complete_all(&self, guest: &Channel) -> Result<(), Status> {
        let listed = ContainersClient::new(guest.clone())
            .list(ListContainersRequest { all: false })
            .await?
            .into_inner();
        for container in listed.containers.iter().filter(|found| lacks_ports(found)) {
            self.complete(&container.id, guest.clone()).await?;
        }
        Ok(())
    }

    /// Binds the ports of a container that the guest started by itself, and
    /// tells it which they are. A port that is taken leaves the container
    /// running without its ports.
    pub(super) async fn complete(&self, container: &str, guest: Channel) -> Result<(), Status> {
        let mut containers = ContainersClient::new(guest);
        // A start that came through here has bound them when its turn ends.
        let turn = self.turn(container).await;
        let request = InspectContainerRequest {
            container: container.to_owned(),
        };
        let found = match containers.inspect(request).await {
            Ok(found) => found.into_inner(),
            Err(status) if status.code() == tonic::Code::NotFound => return Ok(()),
            Err(status) => return Err(status),
        };
        if !lacks_ports(&found) {
            return Ok(());
        }
        let ports = wanted(&found);
        match self.publish_in_turn(container, &ports, turn).await {
            Ok(publication) => {
                let request = StartContainerRequest {
                    container: container.to_owned(),
                    bound_ports: publication.bound().to_vec(),
                };
                containers.start(request).await?;
                publication.keep();
            }
            Err(status) => tracing::warn!(
                container = found.name,
                "started by its restart policy without its ports: {}",
                status.message()
            ),
        }
        Ok(())
    }

    async fn turn(&self, container: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Turns that nobody waits for or holds are forgotten here, so that
            // the map does not grow with every container there ever was.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(container.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }

    async fn machine(&self) -> Result<MachineClient<Channel>, Status> {
        super::machine::client(&self.home).await
    }
}

/// Ports that are bound for a start under way. Dropped without [`Self::keep`],
/// they are closed again unless the container runs.
pub(super) struct Publication {
    ports: Ports,
    container: String,
    bound: Vec<PortBinding>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Publication {
    /// Returns the ports with every host port filled in.
    pub(super) fn bound(&self) -> &[PortBinding] {
        &self.bound
    }

    /// Leaves them open: the container runs.
    pub(super) fn keep(mut self) {
        self.turn = None;
    }

    /// Closes them now: the start failed.
    pub(super) async fn withdraw(mut self) {
        if let Some(turn) = self.turn.take() {
            settle_logged(&self.ports, &self.container).await;
            drop(turn);
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        // The caller went away in the middle of the start, which may have
        // reached the guest or not.
        if let Some(turn) = self.turn.take() {
            let (ports, container) = (self.ports.clone(), std::mem::take(&mut self.container));
            tokio::spawn(async move {
                settle_logged(&ports, &container).await;
                drop(turn);
            });
        }
    }
}

/// Returns the ports that a container publishes: those that were named, and the
/// exposed ones where all are asked for.
pub(super) fn wanted(container: &Container) -> Vec<PortBinding> {
    let Some(spec) = &container.spec else {
        return Vec::new();
    };
    let mut ports = spec.ports.clone();
    if spec.publish_all {
        let mut named: HashSet<_> = ports
            .iter()
            .map(|port| (port.container_port, port.protocol.clone()))
            .collect();
        let image = container.image_config.iter();
        let exposed = image
            .flat_map(|config| &config.exposed_ports)
            .chain(&spec.exposed_ports)
            .filter_map(|exposed| {
                let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
                // What cannot be carried stays exposed alone.
                let carried = matches!(protocol, "tcp" | "udp");
                Some((port.parse().ok()?, protocol.to_owned())).filter(|_| carried)
            });
        for (container_port, protocol) in exposed {
            if named.insert((container_port, protocol.clone())) {
                ports.push(PortBinding {
                    container_port,
                    protocol,
                    ..PortBinding::default()
                });
            }
        }
    }
    ports
}

/// Tells whether a container runs without the ports that it publishes.
fn lacks_ports(container: &Container) -> bool {
    container.status() == container::Status::Running
        && container.ports.is_empty()
        && !wanted(container).is_empty()
}

/// Tells whether a port of the host that is wanted may be one that is bound, whatever
/// their addresses.
fn may_meet(wanted: &PortBinding, bound: &PublishedPort) -> bool {
    let last = wanted.host_port.max(wanted.host_port_last);
    wanted.protocol == bound.protocol && (wanted.host_port..=last).contains(&bound.host_port)
}

async fn settle_logged(ports: &Ports, container: &str) {
    let settled = match super::machine::guest_channel(&ports.home).await {
        Ok(guest) => ports.settle_in_turn(container, guest).await,
        Err(status) => Err(status),
    };
    if let Err(status) = settled {
        tracing::warn!(container, %status, "cannot close its ports yet");
    }
}

fn to_published(port: &PortBinding) -> PublishedPort {
    PublishedPort {
        container_port: port.container_port,
        protocol: port.protocol.clone(),
        host_address: port.host_address.clone(),
        host_port: port.host_port,
        host_port_last: port.host_port_last,
        container_address: String::new(),
    }
}

fn to_binding(port: &PublishedPort) -> PortBinding {
    PortBinding {
        container_port: port.container_port,
        protocol: port.protocol.clone(),
        host_address: port.host_address.clone(),
        host_port: port.host_port,
        host_port_last: port.host_port_last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::{ContainerSpec, ImageConfig};

    #[test]
    fn all_exposed_ports_are_wanted_once_where_all_are_asked_for() {
        let named = PortBinding {
            container_port: 80,
            protocol: "tcp".to_owned(),
            host_port: 8080,
            ..PortBinding::default()
        };
        let mut container = Container {
            spec: Some(ContainerSpec {
                ports: vec![named.clone()],
                exposed_ports: ["80/tcp", "53/udp", "9/sctp", "x"]
                    .map(str::to_owned)
                    .into(),
                ..ContainerSpec::default()
            }),
            image_config: Some(ImageConfig {
                exposed_ports: ["443/tcp", "53/udp"].map(str::to_owned).into(),
                ..ImageConfig::default()
            }),
            ..Container::default()
        };
        assert_eq!(wanted(&container), [named]);
        container.spec.as_mut().unwrap().publish_all = true;
        let all: Vec<_> = wanted(&container)
            .into_iter()
            .map(|port| (port.container_port, port.protocol, port.host_port))
            .collect();
        let expected = [(80, "tcp", 8080), (443, "tcp", 0), (53, "udp", 0)];
        assert_eq!(
            all,
            expected.map(|(port, text, host)| (port, text.to_owned(), host))
        );
    }
}
