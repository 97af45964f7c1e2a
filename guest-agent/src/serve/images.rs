//! The Images service. Archives come over bulk streams instead.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use wherry_proto::v1;
use wherry_proto::v1::images_server::Images as Service;

use super::Agent;
use crate::image::{ImageRecord, Removal};
use crate::registry;

/// Serves [`Service`].
pub(super) struct ImagesService {
    agent: Arc<Agent>,
}

impl ImagesService {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }

    /// Tells of each name that is gone, and of the image.
    fn tell_removal(&self, removal: &Removal) {
        let (events, id) = (&self.agent.events, removal.image.id());
        // As in Docker's, digests that went along with a name are not told of.
        let tags = removal.untagged.iter().filter(|name| !name.contains('@'));
        let least = usize::from(!removal.untagged.is_empty());
        for _ in 0..tags.count().max(least) {
            events.publish_image("untag", &id, id.clone(), &removal.image.config.labels);
        }
        if removal.deleted.contains(&id) {
            events.publish("image", "delete", &id, [("name", id.clone())]);
        }
    }
}

impl Agent {
    /// Runs work on the store of images on a thread that may block.
    pub(super) async fn on_store<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, crate::image::Error> + Send + 'static,
    ) -> Result<T, Status> {
        let agent = self.clone();
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
    type PushStream = Transfer;

    async fn push(
        &self,
        request: Request<v1::PushImageRequest>,
    ) -> Result<Response<Transfer>, Status> {
        let events = self.agent.pulls.push(request.into_inner())?;
        Ok(Response::new(Box::pin(events)))
    }

    async fn tag(
        &self,
        request: Request<v1::TagImageRequest>,
    ) -> Result<Response<v1::TagImageResponse>, Status> {
        let v1::TagImageRequest { image, name } = request.into_inner();
        let named = name.clone();
        let tagged = self
            .agent
            .on_store(move |agent| agent.images.tag(&image, &name))
            .await?;
        self.agent
            .events
            .publish_image("tag", &tagged.id(), named, &tagged.config.labels);
        Ok(Response::new(v1::TagImageResponse {}))
    }

    async fn history(
        &self,
        request: Request<v1::ImageHistoryRequest>,
    ) -> Result<Response<v1::ImageHistoryResponse>, Status> {
        let name = request.into_inner().name;
        let steps = self
            .agent
            .on_store(move |agent| agent.images.history(&name))
            .await?;
        let steps = steps.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::ImageHistoryResponse { steps }))
    }

    async fn prune(
        &self,
        request: Request<v1::PruneImagesRequest>,
    ) -> Result<Response<v1::PruneImagesResponse>, Status> {
        let request = request.into_inner();
        let pruned = self
            .agent
            .on_store(move |agent| {
                let in_use = |image: &str| agent.containers.of_image(image);
                let wanted = |image: &ImageRecord| is_wanted(&request, image);
                agent.images.prune(request.all, &wanted, &in_use)
            })
            .await?;
        for removal in &pruned.removed {
            self.tell_removal(removal);
        }
        Ok(Response::new(v1::PruneImagesResponse {
            untagged: flat(&pruned.removed, |removal| &removal.untagged),
            deleted: flat(&pruned.removed, |removal| &removal.deleted),
            reclaimed: pruned.reclaimed,
        }))
    }

    async fn search(
        &self,
        request: Request<v1::SearchImagesRequest>,
    ) -> Result<Response<v1::SearchImagesResponse>, Status> {
        let request = request.into_inner();
        let access = self.agent.pulls.access(request.access);
        let found = registry::search(&access, &request.term, request.limit).await?;
        Ok(Response::new(found))
    }

    async fn distribution(
        &self,
        request: Request<v1::DistributionRequest>,
    ) -> Result<Response<v1::DistributionResponse>, Status> {
        let request = request.into_inner();
        let access = self.agent.pulls.access(request.access);
        let found = registry::distribution(&access, &request.name).await?;
        Ok(Response::new(found))
    }

    async fn tags(
        &self,
        request: Request<v1::ListTagsRequest>,
    ) -> Result<Response<v1::ListTagsResponse>, Status> {
        let request = request.into_inner();
        let access = self.agent.pulls.access(request.access);
        let names = registry::tags(&access, &request.name).await?;
        Ok(Response::new(v1::ListTagsResponse { names }))
    }

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
        let (image, details) = self
            .agent
            .on_store(move |agent| {
                let image = agent.images.inspect(&name)?;
                let details = agent.images.details(&image);
                Ok((image, details))
            })
            .await?;
        Ok(Response::new(v1::Image {
            author: details.author.unwrap_or_default(),
            comment: details.comment.unwrap_or_default(),
            variant: details.variant.unwrap_or_default(),
            docker_version: details.docker_version.unwrap_or_default(),
            ..(&image).into()
        }))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Result<Response<v1::RemoveImageResponse>, Status> {
        let request = request.into_inner();
        let removal = self
            .agent
            .on_store(move |agent| {
                let in_use = |image: &str| agent.containers.of_image(image);
                agent.images.remove(&request.name, request.force, &in_use)
            })
            .await?;
        self.tell_removal(&removal);
        Ok(Response::new(v1::RemoveImageResponse {
            untagged: removal.untagged,
            deleted: removal.deleted,
        }))
    }
}

fn flat(removed: &[Removal], part: impl Fn(&Removal) -> &Vec<String>) -> Vec<String> {
    removed.iter().flat_map(part).cloned().collect()
}

/// Tells whether the filters of a prune take an image.
fn is_wanted(request: &v1::PruneImagesRequest, image: &ImageRecord) -> bool {
    let has = |label: &String| match label.split_once('=') {
        Some((key, value)) => image.config.labels.get(key).is_some_and(|has| has == value),
        None => image.config.labels.contains_key(label),
    };
    let old = request.until_ns == 0
        || image
            .created_ns
            .is_none_or(|created| created < request.until_ns);
    old && request.labels.iter().all(has) && !request.without_labels.iter().any(has)
}
