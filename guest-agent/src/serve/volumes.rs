//! The Volumes service.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use wherry_proto::v1;
use wherry_proto::v1::volumes_server::Volumes as Service;

use super::Agent;

/// Serves [`Service`].
pub(super) struct VolumesService {
    agent: Arc<Agent>,
}

impl VolumesService {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }
}

#[tonic::async_trait]
impl Service for VolumesService {
    async fn create(
        &self,
        request: Request<v1::CreateVolumeRequest>,
    ) -> Result<Response<v1::Volume>, Status> {
        let request = request.into_inner();
        let volume = self.agent.containers.create_volume(request).await?;
        Ok(Response::new(volume))
    }

    async fn list(
        &self,
        request: Request<v1::ListVolumesRequest>,
    ) -> Result<Response<v1::ListVolumesResponse>, Status> {
        let sizes = request.into_inner().sizes;
        let volumes = self.agent.containers.list_volumes(sizes).await?;
        Ok(Response::new(v1::ListVolumesResponse { volumes }))
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectVolumeRequest>,
    ) -> Result<Response<v1::Volume>, Status> {
        let name = request.into_inner().name;
        let volume = self.agent.containers.inspect_volume(name).await?;
        Ok(Response::new(volume))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveVolumeRequest>,
    ) -> Result<Response<v1::RemoveVolumeResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .remove_volume(request.name, request.force)
            .await?;
        Ok(Response::new(v1::RemoveVolumeResponse {}))
    }

    async fn prune(
        &self,
        request: Request<v1::PruneVolumesRequest>,
    ) -> Result<Response<v1::PruneVolumesResponse>, Status> {
        let request = request.into_inner();
        let response = self.agent.containers.prune_volumes(request).await?;
        Ok(Response::new(response))
    }
}
