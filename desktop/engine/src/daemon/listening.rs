//! Ports of containers in the guest's own network: bound on the host as soon as
//! something listens there, closed when nothing does.

use std::collections::HashMap;

use tonic::transport::Channel;
use tonic::{Code, Status};
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::{
    ListeningContainer, ListeningPort, NotePortsRequest, PortBinding, PublishRequest,
    PublishResponse, PublishedPort, WatchListeningRequest,
};

use super::ports::Ports;

/// Keeps the host's ports as the guest says, for as long as it says so.
pub(super) async fn follow(guest: Channel, ports: &Ports) -> Result<(), Status> {
    let mut containers = ContainersClient::new(guest);
    let mut changes = match containers.watch_listening(WatchListeningRequest {}).await {
        Ok(changes) => changes.into_inner(),
        // An older guest, which the events alone keep in step with.
        Err(status) if status.code() == Code::Unimplemented => {
            return std::future::pending().await;
        }
        Err(status) => return Err(status),
    };
    let mut problems = HashMap::new();
    while let Some(snapshot) = changes.message().await? {
        problems.retain(|id, _| {
            snapshot
                .containers
                .iter()
                .any(|found| found.container == *id)
        });
        for container in snapshot.containers {
            let told = problems.entry(container.container.clone()).or_default();
            if let Err(status) = publish(&container, ports, &mut containers, told).await {
                tracing::warn!(container = container.container, %status,
                    "cannot publish what listens in the guest's own network");
            }
        }
    }
    Err(Status::unavailable("the guest tells no more what listens"))
}

/// Binds what one container listens at, and tells the guest where. A port that
/// somebody else has is logged, once, and shown without a port of the host.
async fn publish(
    container: &ListeningContainer,
    ports: &Ports,
    guest: &mut ContainersClient<Channel>,
    told: &mut Vec<String>,
) -> Result<(), Status> {
    let request = PublishRequest {
        container: container.container.clone(),
        ports: container.ports.iter().map(wish).collect(),
        best_effort: true,
    };
    let published = ports.publish_what_can_be(request).await?;
    for problem in published.problems.iter().filter(|new| !told.contains(new)) {
        tracing::warn!(container = container.container, "{problem}");
    }
    told.clone_from(&published.problems);
    let request = NotePortsRequest {
        container: container.container.clone(),
        ports: bindings(&container.ports, &published),
    };
    match guest.note_ports(request).await {
        Ok(_) => Ok(()),
        // It has just been removed.
        Err(status) if status.code() == Code::NotFound => Ok(()),
        Err(status) => Err(status),
    }
}

/// The same port of the host, where ports listen that name no address.
fn wish(port: &ListeningPort) -> PublishedPort {
    PublishedPort {
        container_port: port.port,
        protocol: port.protocol.clone(),
        host_port: port.port,
        container_address: port.address.clone(),
        ..PublishedPort::default()
    }
}

fn bindings(listening: &[ListeningPort], published: &PublishResponse) -> Vec<PortBinding> {
    let bound = |port: &&ListeningPort| {
        published
            .ports
            .iter()
            .any(|bound| bound.container_port == port.port && bound.protocol == port.protocol)
    };
    let unbound = listening.iter().filter(|port| !bound(port));
    let unbound = unbound.map(|port| PortBinding {
        container_port: port.port,
        protocol: port.protocol.clone(),
        ..PortBinding::default()
    });
    let bound = published.ports.iter().map(|port| PortBinding {
        container_port: port.container_port,
        protocol: port.protocol.clone(),
        host_address: port.host_address.clone(),
        host_port: port.host_port,
        host_port_last: 0,
    });
    bound.chain(unbound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_could_not_be_bound_is_shown_without_one_of_the_host() {
        let port = |port| ListeningPort {
            port,
            protocol: "tcp".to_owned(),
            address: "127.0.0.1".to_owned(),
        };
        let published = PublishResponse {
            ports: vec![PublishedPort {
                host_address: "127.0.0.1".to_owned(),
                ..wish(&port(80))
            }],
            problems: vec!["port 81 is taken".to_owned()],
        };
        let shown: Vec<_> = bindings(&[port(80), port(81)], &published)
            .into_iter()
            .map(|binding| (binding.container_port, binding.host_port))
            .collect();
        assert_eq!(shown, [(80, 80), (81, 0)]);
    }
}
