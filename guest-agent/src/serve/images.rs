//! The Images service. Archives come over bulk streams instead.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use wherry_proto::v1;
use wherry_proto::v1::images_server::Images as Service;

use super::Agent;
use crate::registry;

/// Serves [`Service`].
pub(super) struct ImagesService {
    agent: Arc<Agent>,
}

impl ImagesService {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }

    /// Runs work on the store on a thread that may block.
    async fn on_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Agent) -> Result<T, crate::image::Error> + Send + 'static,
    ) -> Result<T, Status> {
        let agent = self.agent.clone();
        tokio::task::spawn_blocking(move || work(&agent))
            .await
            .map_err(|error| Status::internal(format!("an internal task failed: {error}")))?
            .map_err(Status::from)
    }
}

type Transfer = Pin<Box<dyn Stream<Item = Result<v1::TransferEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Service for ImagesService {
    type PullStream = Transfer;

    async fn pull(
        &self,
        request: Request<v1::PullImageRequest>,
    ) -> Result<Response<Transfer>, Status> {
        let events = self.agent.pulls.pull(request.into_inner())?;
        Ok(Response::new(Box::pin(events)))
    }

    async fn login(
        &self,
        request: Request<v1::LoginRequest>,
    ) -> Result<Response<v1::LoginResponse>, Status> {
        let request = request.into_inner();
        let access = self.agent.pulls.access(request.access);
        let identity_token = registry::login(&access, &request.registry).await?;
        Ok(Response::new(v1::LoginResponse { identity_token }))
    }

    async fn list(
        &self,
        _: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        let images = self.agent.images.list().iter().map(Into::into).collect();
        Ok(Response::new(v1::ListImagesResponse { images }))
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectImageRequest>,
    ) -> Result<Response<v1::Image>, Status> {
        let name = request.into_inner().name;
        let image = self
            .on_store(move |agent| agent.images.inspect(&name))
            .await?;
        Ok(Response::new((&image).into()))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Result<Response<v1::RemoveImageResponse>, Status> {
        let request = request.into_inner();
        let removal = self
            .on_store(move |agent| {
                let in_use = |image: &str| agent.containers.of_image(image);
                agent.images.remove(&request.name, request.force, &in_use)
            })
            .await?;
        for id in &removal.deleted {
            self.agent.events.publish("image", "delete", id, []);
        }
        Ok(Response::new(v1::RemoveImageResponse {
            untagged: removal.untagged,
            deleted: removal.deleted,
        }))
    }
}
