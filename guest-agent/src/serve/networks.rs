//! The Networks service.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use wherry_proto::v1;
use wherry_proto::v1::networks_server::Networks as Service;

use super::Agent;

/// Serves [`Service`].
pub(super) struct NetworksService {
    agent: Arc<Agent>,
}

impl NetworksService {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }
}

#[tonic::async_trait]
impl Service for NetworksService {
    async fn create(
        &self,
        request: Request<v1::CreateNetworkRequest>,
    ) -> Result<Response<v1::CreateNetworkResponse>, Status> {
        let containers = &self.agent.containers;
        let created = containers.create_network(request.into_inner()).await?;
        Ok(Response::new(created))
    }

    async fn list(
        &self,
        _: Request<v1::ListNetworksRequest>,
    ) -> Result<Response<v1::ListNetworksResponse>, Status> {
        let networks = self.agent.containers.list_networks();
        Ok(Response::new(v1::ListNetworksResponse { networks }))
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectNetworkRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let network = request.into_inner().network;
        let network = self.agent.containers.inspect_network(&network)?;
        Ok(Response::new(network))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveNetworkRequest>,
    ) -> Result<Response<v1::RemoveNetworkResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .remove_network(&request.network, request.force)
            .await?;
        Ok(Response::new(v1::RemoveNetworkResponse {}))
    }

    async fn prune(
        &self,
        request: Request<v1::PruneNetworksRequest>,
    ) -> Result<Response<v1::PruneNetworksResponse>, Status> {
        let containers = &self.agent.containers;
        let removed = containers.prune_networks(request.into_inner()).await?;
        Ok(Response::new(v1::PruneNetworksResponse { removed }))
    }

    async fn connect_container(
        &self,
        request: Request<v1::ConnectNetworkRequest>,
    ) -> Result<Response<v1::ConnectNetworkResponse>, Status> {
        let request = request.into_inner();
        let attachment = request.attachment.unwrap_or_default();
        self.agent
            .containers
            .connect_network(&request.container, attachment)
            .await?;
        Ok(Response::new(v1::ConnectNetworkResponse {}))
    }

    async fn disconnect_container(
        &self,
        request: Request<v1::DisconnectNetworkRequest>,
    ) -> Result<Response<v1::DisconnectNetworkResponse>, Status> {
        let v1::DisconnectNetworkRequest {
            network,
            container,
            force,
        } = request.into_inner();
        self.agent
            .containers
            .disconnect_network(&container, &network, force)
            .await?;
        Ok(Response::new(v1::DisconnectNetworkResponse {}))
    }
}
