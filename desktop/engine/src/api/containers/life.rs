//! What changes a container.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bollard_stubs::models::{ContainerCreateBody, ContainerUpdateBody, HostConfig};
use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tonic::Request;
use wherry_docker::or_null;
use wherry_proto::v1::container::Status;
use wherry_proto::v1::{
    CreateContainerRequest, KillContainerRequest, PauseContainerRequest, PruneContainersRequest,
    RemoveContainerRequest, RemoveLinkRequest, RenameContainerRequest, ResizeRequest,
    RestartContainerRequest, StartContainerRequest, StopContainerRequest, UnpauseContainerRequest,
    UpdateContainerRequest,
};

use super::create;
use crate::api::error::{ApiError, Result};
use crate::api::images::check_platform;
use crate::api::path::Name;
use crate::api::query::Query;
use crate::api::version::ApiVersion;
use crate::api::{Api, body, history};

/// How long a container has to stop, seconds; it waits for ever.
const FOR_EVER: u32 = u32::MAX;

/// A container's description, with what `bollard-stubs` does not know any more.
#[derive(Default, serde::Deserialize)]
struct Wanted {
    #[serde(flatten)]
    body: ContainerCreateBody,
    #[serde(rename = "MacAddress")]
    mac_address: Option<String>,
}

pub(super) async fn create(
    State(api): State<Api>,
    Extension(version): Extension<ApiVersion>,
    uri: Uri,
    request: Body,
) -> Result<Response> {
    let Wanted {
        mut body,
        mac_address,
    } = body::json(request).await?;
    history::container_of_client(&mut body, version);
    let deprecated = match mac_address.as_deref().unwrap_or_default() {
        "" => None,
        address => history::address_of_container(&mut body, address, version)?,
    };
    if body.image.as_deref().unwrap_or_default().is_empty() {
        return Err(ApiError::bad_request(
            "no image is named: Image must not be empty",
        ));
    }
    let folders = create::folders(&body);
    let discarded = body.host_config.as_ref().map(create::warnings);
    let query = Query::of(&uri);
    let spec = create::spec(query.text("name"), body)?;
    if version >= ApiVersion::minor(41) {
        check_platform(&api, &spec.image, query.text("platform")).await?;
    }
    api.guest().await?;
    api.translator().make_folders(&folders).await?;
    let request = CreateContainerRequest { spec: Some(spec) };
    let made = api
        .translator()
        .create(Request::new(request))
        .await?
        .into_inner();
    let mut warnings = made.warnings;
    let discarded = discarded.iter().flatten().chain(&deprecated);
    warnings.extend(discarded.map(|text| (*text).to_owned()));
    let answer = json!({"Id": made.id, "Warnings": warnings});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

pub(super) async fn start(
    State(api): State<Api>,
    Name(name): Name,
    uri: Uri,
) -> Result<StatusCode> {
    if !Query::of(&uri).text("checkpoint").is_empty() {
        return Err(ApiError::bad_request(
            "checkpoint is only supported in experimental mode, which Wherry has not",
        ));
    }
    let guest = api.guest().await?;
    let container = super::inspect(&guest, &name).await?;
    if container.status() == Status::Running {
        return Ok(StatusCode::NOT_MODIFIED);
    }
    let request = StartContainerRequest {
        container: container.id,
        ..StartContainerRequest::default()
    };
    let started = api.translator().start(Request::new(request)).await;
    started.map_err(|status| ApiError::from(status).of_start())?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns a query's `t`: seconds, of which -1 is for ever.
fn timeout(query: &Query) -> Result<Option<u32>> {
    Ok(query
        .number::<i64>("t")?
        .map(|seconds| u32::try_from(seconds).unwrap_or(FOR_EVER)))
}

pub(super) async fn stop(State(api): State<Api>, Name(name): Name, uri: Uri) -> Result<StatusCode> {
    let query = Query::of(&uri);
    let guest = api.guest().await?;
    let container = super::inspect(&guest, &name).await?;
    if matches!(
        container.status(),
        Status::Created | Status::Exited | Status::Dead
    ) {
        return Ok(StatusCode::NOT_MODIFIED);
    }
    let request = StopContainerRequest {
        container: container.id,
        timeout_seconds: timeout(&query)?,
        signal: query.text("signal").to_owned(),
    };
    api.translator().stop(Request::new(request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn restart(
    State(api): State<Api>,
    Name(name): Name,
    uri: Uri,
) -> Result<StatusCode> {
    let query = Query::of(&uri);
    api.guest().await?;
    let request = RestartContainerRequest {
        container: name,
        timeout_seconds: timeout(&query)?,
        signal: query.text("signal").to_owned(),
        ..RestartContainerRequest::default()
    };
    api.translator().restart(Request::new(request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn kill(State(api): State<Api>, Name(name): Name, uri: Uri) -> Result<StatusCode> {
    let request = KillContainerRequest {
        container: name,
        signal: Query::of(&uri).text("signal").to_owned(),
    };
    api.guest().await?;
    api.translator().kill(Request::new(request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn pause(State(api): State<Api>, Name(name): Name) -> Result<StatusCode> {
    let request = PauseContainerRequest { container: name };
    api.containers().await?.pause(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn unpause(State(api): State<Api>, Name(name): Name) -> Result<StatusCode> {
    let request = UnpauseContainerRequest { container: name };
    api.containers().await?.unpause(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rename(
    State(api): State<Api>,
    Name(container): Name,
    uri: Uri,
) -> Result<StatusCode> {
    let name = Query::of(&uri)
        .text("name")
        .trim_start_matches('/')
        .to_owned();
    let request = RenameContainerRequest { container, name };
    api.containers().await?.rename(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the rows and columns that a terminal is to have.
///
/// # Errors
///
/// 400 where one is no number, or left out.
pub(in crate::api) fn size(query: &Query) -> Result<(u32, u32)> {
    let side = |name: &str| {
        query.number::<u32>(name)?.ok_or_else(|| {
            ApiError::bad_request(format!("a terminal's size has h and w: {name} is missing"))
        })
    };
    Ok((side("h")?, side("w")?))
}

pub(super) async fn resize(
    State(api): State<Api>,
    Name(container): Name,
    uri: Uri,
) -> Result<StatusCode> {
    let (rows, columns) = size(&Query::of(&uri))?;
    let guest = api.guest().await?;
    let found = super::inspect(&guest, &container).await?;
    if found.status() == Status::Running && found.spec.is_some_and(|spec| !spec.terminal) {
        // As Docker: nothing to do is no failure.
        return Ok(StatusCode::OK);
    }
    let request = ResizeRequest {
        container,
        exec: String::new(),
        rows,
        columns,
    };
    api.containers().await?.resize(request).await?;
    Ok(StatusCode::OK)
}

pub(super) async fn remove(
    State(api): State<Api>,
    Name(container): Name,
    uri: Uri,
) -> Result<StatusCode> {
    let query = Query::of(&uri);
    if query.flag("link") {
        let request = RemoveLinkRequest { link: container };
        api.containers().await?.remove_link(request).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let request = RemoveContainerRequest {
        container,
        force: query.flag("force"),
        volumes: query.flag("v"),
    };
    api.guest().await?;
    api.translator().remove(Request::new(request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn prune(State(api): State<Api>, uri: Uri) -> Result<Json<Value>> {
    let filters = Query::of(&uri).filters()?;
    filters.only(&["until", "label", "label!"])?;
    let request = PruneContainersRequest {
        until_ns: filters.until_ns()?,
        labels: filters.values("label").to_vec(),
        not_labels: filters.values("label!").to_vec(),
    };
    let pruned = api.containers().await?.prune(request).await?.into_inner();
    let ids = or_null(pruned.ids);
    Ok(Json(
        json!({"ContainersDeleted": ids, "SpaceReclaimed": pruned.reclaimed}),
    ))
}

pub(super) async fn update(
    State(api): State<Api>,
    Name(container): Name,
    request: Body,
) -> Result<Json<Value>> {
    let body: ContainerUpdateBody = body::json(request).await?;
    let policy = body.restart_policy.clone();
    let (name, restart_retries) = create::restart(policy.as_ref())?;
    let unlimited = body.pids_limit == Some(-1);
    let mut resources = create::resources(&limits(body))?;
    if unlimited {
        resources.pids = u64::MAX;
    }
    let request = UpdateContainerRequest {
        container,
        restart_policy: policy.filter(|_| !name.is_empty()).map(|_| name),
        restart_retries,
        resources: Some(resources),
    };
    let mut containers = api.containers().await?;
    let updated = containers.update(request).await?.into_inner();
    Ok(Json(json!({"Warnings": or_null(updated.warnings)})))
}

/// Returns the limits of an update as a container's configuration has them.
fn limits(body: ContainerUpdateBody) -> HostConfig {
    HostConfig {
        memory: body.memory,
        nano_cpus: body.nano_cpus,
        pids_limit: body.pids_limit,
        memory_swap: body.memory_swap,
        memory_reservation: body.memory_reservation,
        cpu_shares: body.cpu_shares,
        cpuset_cpus: body.cpuset_cpus,
        cpuset_mems: body.cpuset_mems,
        cpu_period: body.cpu_period,
        cpu_quota: body.cpu_quota,
        blkio_weight: body.blkio_weight,
        blkio_device_read_bps: body.blkio_device_read_bps,
        blkio_device_write_bps: body.blkio_device_write_bps,
        blkio_device_read_iops: body.blkio_device_read_iops,
        blkio_device_write_iops: body.blkio_device_write_iops,
        ..HostConfig::default()
    }
}
