//! Volumes.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bollard_stubs::models::VolumeCreateRequest;
use http::{StatusCode, Uri};
use serde_json::{Value, json};
use wherry_docker::volume as shape;
use wherry_proto::v1::volumes_client::VolumesClient;
use wherry_proto::v1::{
    CreateVolumeRequest, InspectVolumeRequest, ListVolumesRequest, PruneVolumesRequest,
    RemoveVolumeRequest, Volume,
};

use super::error::{ApiError, Result};
use super::query::{Filters, Query};
use super::version::ApiVersion;
use super::{Api, body};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route("/volumes/{name}", get(inspect).delete(remove).put(no_cluster))
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
    if request.driver_opts.is_some_and(|options| !options.is_empty()) {
        return Err(ApiError::not_implemented("options of volume drivers are not supported by Wherry"));
    }
    let request = CreateVolumeRequest {
        name: request.name.unwrap_or_default(),
        labels: request.labels.unwrap_or_default(),
    };
    let volume = VolumesClient::new(api.guest().await?).create(request).await?.into_inner();
    Ok((StatusCode::CREATED, Json(shape::inspect(&volume))).into_response())
}

async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Value>> {
    let filters = Query::of(&uri).filters()?;
    filters.only(&["dangling", "driver", "label", "name"])?;
    let request = ListVolumesRequest { sizes: false };
    let listed = VolumesClient::new(api.guest().await?).list(request).await?.into_inner();
    let volumes = listed.volumes.iter().filter(|volume| matches(volume, &filters));
    let volumes: Vec<_> = volumes.map(shape::inspect).collect();
    Ok(Json(json!({"Volumes": volumes, "Warnings": null})))
}

fn matches(volume: &Volume, filters: &Filters) -> bool {
    let any = |key: &str, holds: &dyn Fn(&str) -> bool| {
        let values = filters.values(key);
        values.is_empty() || values.iter().any(|value| holds(value))
    };
    any("name", &|name| volume.name.contains(name))
        && any("driver", &|driver| driver == "local")
        && any("dangling", &|flag| {
            matches!(flag, "1" | "true" | "True") == volume.containers.is_empty()
        })
        && filters.matches_labels(|key| volume.labels.get(key))
}

async fn inspect(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>> {
    let request = InspectVolumeRequest { name };
    let volume = VolumesClient::new(api.guest().await?).inspect(request).await?.into_inner();
    Ok(Json(shape::inspect(&volume)))
}

async fn remove(
    State(api): State<Api>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<StatusCode> {
    let request = RemoveVolumeRequest {
        name,
        force: Query::of(&uri).flag("force"),
    };
    VolumesClient::new(api.guest().await?).remove(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn prune(
    State(api): State<Api>,
    axum::Extension(version): axum::Extension<ApiVersion>,
    uri: Uri,
) -> Result<Json<Value>> {
    let filters = Query::of(&uri).filters()?;
    filters.only(&["all", "label", "label!"])?;
    let all = filters.values("all").iter().any(|value| matches!(value.as_str(), "1" | "true"));
    let request = PruneVolumesRequest {
        // Until 1.42 those with a name went too.
        all: all || version < ApiVersion::minor(42),
        labels: filters.values("label").to_vec(),
        without_labels: filters.values("label!").to_vec(),
    };
    let pruned = VolumesClient::new(api.guest().await?).prune(request).await?.into_inner();
    Ok(Json(json!({"VolumesDeleted": pruned.removed, "SpaceReclaimed": pruned.reclaimed})))
}

async fn no_cluster() -> ApiError {
    ApiError::not_implemented("Wherry has no cluster volumes")
}
