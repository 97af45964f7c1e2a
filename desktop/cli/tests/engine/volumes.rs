//! The scripted engine's volumes: `data`, which a container has, and whatever
//! is made.

use tonic::{Request, Response, Status};
use wherry_proto::v1::volumes_server::Volumes;
use wherry_proto::v1::{self as v1, Volume};

use super::{Answer, State};

fn data() -> Volume {
    Volume {
        name: "data".to_owned(),
        mountpoint: "/volumes/data/_data".to_owned(),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        containers: vec!["0123".to_owned()],
        ..Volume::default()
    }
}

#[tonic::async_trait]
impl Volumes for State {
    async fn create(&self, request: Request<v1::CreateVolumeRequest>) -> Answer<Volume> {
        let request = request.into_inner();
        Ok(Response::new(Volume {
            name: request.name,
            labels: request.labels,
            ..Volume::default()
        }))
    }
    async fn list(&self, _: Request<v1::ListVolumesRequest>) -> Answer<v1::ListVolumesResponse> {
        let free = Volume {
            name: "cache".to_owned(),
            ..Volume::default()
        };
        let volumes = vec![data(), free];
        Ok(Response::new(v1::ListVolumesResponse { volumes }))
    }
    async fn inspect(&self, request: Request<v1::InspectVolumeRequest>) -> Answer<Volume> {
        match request.into_inner().name.as_str() {
            "data" => Ok(Response::new(data())),
            name => Err(Status::not_found(format!("get {name}: no such volume"))),
        }
    }
    async fn remove(
        &self,
        request: Request<v1::RemoveVolumeRequest>,
    ) -> Answer<v1::RemoveVolumeResponse> {
        match request.into_inner().name.as_str() {
            "data" => Err(Status::failed_precondition(
                "remove data: volume is in use - [0123]",
            )),
            _ => Ok(Response::new(v1::RemoveVolumeResponse {})),
        }
    }
    async fn prune(
        &self,
        request: Request<v1::PruneVolumesRequest>,
    ) -> Answer<v1::PruneVolumesResponse> {
        let request = request.into_inner();
        let mut removed = vec!["cache".to_owned()];
        removed.retain(|_| request.all && request.without_labels.is_empty());
        let reclaimed = removed.len() as u64 * 1500;
        Ok(Response::new(v1::PruneVolumesResponse {
            removed,
            reclaimed,
        }))
    }
}
