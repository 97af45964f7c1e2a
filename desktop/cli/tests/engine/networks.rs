//! The scripted engine's networks: `front`, which a container is on, `back`,
//! and those that are always there.

use tonic::{Request, Response, Status};
use wherry_proto::v1::networks_server::Networks;
use wherry_proto::v1::{self as v1, Network};

use super::{Answer, State};

fn network(name: &str, digit: &str, driver: &str) -> Network {
    Network {
        id: digit.repeat(64),
        name: name.to_owned(),
        driver: driver.to_owned(),
        ..Network::default()
    }
}

fn front() -> Network {
    let endpoint = v1::NetworkEndpoint {
        endpoint: "e".repeat(64),
        ip_address: "10.1.0.2".to_owned(),
        prefix_length: 24,
        mac_address: "02:42:0a:01:00:02".to_owned(),
        ..v1::NetworkEndpoint::default()
    };
    Network {
        subnets: vec![v1::Subnet {
            subnet: "10.1.0.0/24".to_owned(),
            gateway: "10.1.0.1".to_owned(),
            ..v1::Subnet::default()
        }],
        labels: [("a".to_owned(), "b".to_owned())].into(),
        members: vec![v1::NetworkMember {
            container: "0123".to_owned(),
            name: "web".to_owned(),
            endpoint: Some(endpoint),
        }],
        users: 1,
        ..network("front", "a", "bridge")
    }
}

#[tonic::async_trait]
impl Networks for State {
    async fn create(
        &self,
        request: Request<v1::CreateNetworkRequest>,
    ) -> Answer<v1::CreateNetworkResponse> {
        let request = request.into_inner();
        if request.name == "front" {
            return Err(Status::already_exists(
                "network with name front already exists",
            ));
        }
        self.asked.lock().unwrap().networks.push(request);
        Ok(Response::new(v1::CreateNetworkResponse {
            id: "c".repeat(64),
            warnings: Vec::new(),
        }))
    }
    async fn list(&self, _: Request<v1::ListNetworksRequest>) -> Answer<v1::ListNetworksResponse> {
        let networks = vec![
            network("none", "3", "null"),
            network("bridge", "1", "bridge"),
            network("host", "2", "host"),
            front(),
            network("back", "b", "bridge"),
        ];
        Ok(Response::new(v1::ListNetworksResponse { networks }))
    }
    async fn inspect(&self, request: Request<v1::InspectNetworkRequest>) -> Answer<Network> {
        match request.into_inner().network.as_str() {
            "front" => Ok(Response::new(front())),
            name => Err(Status::not_found(format!("network {name} not found"))),
        }
    }
    async fn remove(
        &self,
        request: Request<v1::RemoveNetworkRequest>,
    ) -> Answer<v1::RemoveNetworkResponse> {
        match request.into_inner().network.as_str() {
            "front" => Err(Status::failed_precondition(
                "error while removing network: network front has active endpoints (name:\"web\" id:\"0123\")",
            )),
            _ => Ok(Response::new(v1::RemoveNetworkResponse {})),
        }
    }
    async fn prune(
        &self,
        request: Request<v1::PruneNetworksRequest>,
    ) -> Answer<v1::PruneNetworksResponse> {
        let mut removed = vec!["back".to_owned()];
        removed.retain(|_| request.get_ref().labels.is_empty());
        Ok(Response::new(v1::PruneNetworksResponse { removed }))
    }
    async fn connect_container(
        &self,
        request: Request<v1::ConnectNetworkRequest>,
    ) -> Answer<v1::ConnectNetworkResponse> {
        self.asked
            .lock()
            .unwrap()
            .connected
            .push(request.into_inner());
        Ok(Response::new(v1::ConnectNetworkResponse {}))
    }
    async fn disconnect_container(
        &self,
        request: Request<v1::DisconnectNetworkRequest>,
    ) -> Answer<v1::DisconnectNetworkResponse> {
        let request = request.into_inner();
        match request.force {
            true => Ok(Response::new(v1::DisconnectNetworkResponse {})),
            false => Err(Status::failed_precondition(format!(
                "container {} is not connected to network {}",
                request.container, request.network
            ))),
        }
    }
}
