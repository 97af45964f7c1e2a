//! Volumes.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bollard_stubs::models::VolumeCreateRequest;
use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tonic::Request;
use wherry_docker::volume as shape;
use wherry_proto::v1::{
    CreateVolumeRequest, InspectVolumeRequest, ListVolumesRequest, PruneVolumesRequest,
    RemoveVolumeRequest, Volume,
};

use super::error::{ApiError, Result};
use super::path::Name;
use super::query::{Filters, Query};
use super::version::ApiVersion;
use super::{Api, body};
use crate::daemon;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route(
            "/volumes/{name}",
            get(inspect).delete(remove).put(no_cluster),
        )
}

async fn create(State(api): State<Api>, request: Body) -> Result<Response> {
    let request: VolumeCreateRequest = body::json(request).await?;
    let driver = request.driver.unwrap_or_default();
    if !matches!(driver.as_str(), "" | "local") {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found"),
        ));
    }
    let request = CreateVolumeRequest {
        name: request.name.unwrap_or_default(),
        labels: request.labels.unwrap_or_default(),
        options: request.driver_opts.unwrap_or_default(),
        bind_source: String::new(),
    };
    api.guest().await?;
    let volume = daemon::create_volume(&api.link, Request::new(request))
        .await?
        .into_inner();
    Ok((StatusCode::CREATED, Json(shape::inspect(&volume))).into_response())
}

async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Value>> {
    let filters = Query::of(&uri).filters()?;
    filters.only(&["dangling", "driver", "label", "name"])?;
    filters.flag("dangling")?;
    let request = ListVolumesRequest { sizes: false };
    let listed = api.volumes().await?.list(request).await?.into_inner();
    let volumes = listed
        .volumes
        .iter()
        .filter(|volume| matches(volume, &filters));
    let volumes: Vec<_> = volumes.map(shape::inspect).collect();
    Ok(Json(json!({"Volumes": volumes, "Warnings": null})))
}

fn matches(volume: &Volume, filters: &Filters) -> bool {
    filters.any("name", |name| volume.name.contains(name))
        && filters.any("driver", |driver| driver == "local")
        && filters.any("dangling", |flag| {
            matches!(flag, "1" | "true" | "True") == volume.containers.is_empty()
        })
        && filters.matches_labels(|key| volume.labels.get(key))
}

async fn inspect(State(api): State<Api>, Name(name): Name) -> Result<Json<Value>> {
    let request = InspectVolumeRequest { name };
    let volume = api.volumes().await?.inspect(request).await?.into_inner();
    Ok(Json(shape::inspect(&volume)))
}

async fn remove(State(api): State<Api>, Name(name): Name, uri: Uri) -> Result<StatusCode> {
    let request = RemoveVolumeRequest {
        name,
        force: Query::of(&uri).flag("force"),
    };
    api.volumes().await?.remove(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn prune(
    State(api): State<Api>,
    axum::Extension(version): axum::Extension<ApiVersion>,
    uri: Uri,
) -> Result<Json<Value>> {
    let filters = Query::of(&uri).filters()?;
    filters.only(&["all", "label", "label!"])?;
    let all = filters.flag("all")?.unwrap_or_default();
    let request = PruneVolumesRequest {
        // Until 1.42 those with a name went too.
        all: all || version < ApiVersion::minor(42),
        labels: filters.values("label").to_vec(),
        without_labels: filters.values("label!").to_vec(),
    };
    let pruned = api.volumes().await?.prune(request).await?.into_inner();
    Ok(Json(
        json!({"VolumesDeleted": pruned.removed, "SpaceReclaimed": pruned.reclaimed}),
    ))
}

async fn no_cluster() -> ApiError {
    ApiError::not_implemented("Wherry has no cluster volumes")
}
