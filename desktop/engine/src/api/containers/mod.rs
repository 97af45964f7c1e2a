//! Containers: their life, what they are, their streams and their files.

mod archive;
mod create;
mod life;
mod list;
mod stats;
mod streams;

pub(super) use archive::{send, tar};
pub(super) use create::{has_networks, network_mode};
pub(super) use life::size;
pub(super) use streams::{json_stream, line};

use axum::Router;
use axum::routing::{delete, get, post};
use tonic::transport::Channel;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::{Container, InspectContainerRequest};

use super::Api;
use super::error::Result;

pub(super) fn routes() -> Router<Api> {
    let one = |rest: &str| format!("/containers/{{name}}{rest}");
    Router::new()
        .route("/containers/json", get(list::list))
        .route("/containers/create", post(life::create))
        .route("/containers/prune", post(life::prune))
        .route(&one(""), delete(life::remove))
        .route(&one("/json"), get(list::inspect))
        .route(&one("/start"), post(life::start))
        .route(&one("/stop"), post(life::stop))
        .route(&one("/restart"), post(life::restart))
        .route(&one("/kill"), post(life::kill))
        .route(&one("/pause"), post(life::pause))
        .route(&one("/unpause"), post(life::unpause))
        .route(&one("/rename"), post(life::rename))
        .route(&one("/update"), post(life::update))
        .route(&one("/resize"), post(life::resize))
        .route(&one("/wait"), post(streams::wait))
        .route(&one("/attach"), post(streams::attach))
        .route(&one("/attach/ws"), get(streams::attach_web_socket))
        .route(&one("/logs"), get(streams::logs))
        .route(&one("/stats"), get(stats::stats))
        .route(&one("/top"), get(list::top))
        .route(&one("/changes"), get(list::changes))
        .route(&one("/export"), get(archive::export))
        .route(
            &one("/archive"),
            get(archive::copy_out)
                .head(archive::stat)
                .put(archive::copy_in),
        )
        .route("/commit", post(archive::commit))
}

/// Returns a container as the guest knows it.
async fn inspect(guest: &Channel, name: &str) -> Result<Container> {
    let request = InspectContainerRequest {
        container: name.to_owned(),
    };
    let mut containers = ContainersClient::new(guest.clone());
    Ok(containers.inspect(request).await?.into_inner())
}

#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_create(body: bollard_stubs::models::ContainerCreateBody) {
    let _ = create::folders(&body);
    let _ = body.host_config.as_ref().map(create::warnings);
    let _ = create::spec("x", body);
}

#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_commit(body: &[u8]) {
    archive::fuzz_commit(body);
}
