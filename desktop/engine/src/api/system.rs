//! The engine as a whole: whether it is there, what it is, what happens in it and
//! what takes space.

use std::collections::BTreeSet;
use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::stream as streams;
use http::{HeaderName, Uri, header};
use serde_json::{Value, json};
use wherry_client::Settings;
use wherry_docker::{container, event, human, image, volume};
use wherry_proto::WIRE_VERSION;
use wherry_proto::v1::{
    DiskUsageRequest, EventFilter, EventsRequest, InfoRequest, InfoResponse, ListContainersRequest,
    container::Status,
};

use super::containers::{json_stream, line};
use super::error::{ApiError, Result};
use super::query::Query;
use super::server::DOCKER;
use super::version::{ApiVersion, NEWEST, OLDEST};
use super::{Api, history, images};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/_ping", get(ping))
        .route("/version", get(version))
        .route("/info", get(info))
        .route("/events", get(events))
        .route("/system/df", get(disk_usage))
        .route("/auth", post(images::login))
}

async fn ping() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (header::PRAGMA, "no-cache"),
        // The older of Docker's two builders; none is here yet.
        (HeaderName::from_static("builder-version"), "1"),
        (HeaderName::from_static("swarm"), "inactive"),
    ];
    (headers, "OK")
}

async fn guest(api: &Api) -> Result<InfoResponse> {
    let request = InfoRequest {
        wire_version: WIRE_VERSION,
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok(api.system().await?.info(request).await?.into_inner())
}

async fn version(State(api): State<Api>) -> Result<Json<Value>> {
    let guest = guest(&api).await?;
    let details = json!({
        "ApiVersion": NEWEST.to_string(),
        "Arch": guest.architecture,
        "Experimental": "false",
        "KernelVersion": guest.kernel_version,
        "MinAPIVersion": OLDEST.to_string(),
        "Os": "linux",
    });
    let wherry = env!("CARGO_PKG_VERSION");
    Ok(Json(json!({
        "Platform": {"Name": format!("Wherry {wherry}")},
        "Components": [
            {"Name": "Engine", "Version": DOCKER, "Details": details},
            {"Name": "Wherry", "Version": wherry, "Details": {"Agent": guest.agent_version}},
        ],
        // Of the engine whose behaviour this is: clients compare it.
        "Version": DOCKER,
        "ApiVersion": NEWEST.to_string(),
        "MinAPIVersion": OLDEST.to_string(),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": guest.architecture,
        "KernelVersion": guest.kernel_version,
        "BuildTime": "",
    })))
}

/// Returns the architecture as uname(2) says it, as Docker's `info` does.
fn machine(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

async fn info(
    State(api): State<Api>,
    Extension(version): Extension<ApiVersion>,
) -> Result<Json<Value>> {
    let guest = guest(&api).await?;
    let settings = Settings::load(api.home()).map_err(ApiError::internal)?;
    let listed = api
        .containers()
        .await?
        .list(ListContainersRequest { all: true })
        .await?;
    let listed = listed.into_inner().containers;
    let count = |status: Status| {
        listed
            .iter()
            .filter(|found| found.status() == status)
            .count()
    };
    let (running, paused) = (
        count(Status::Running) + count(Status::Restarting),
        count(Status::Paused),
    );
    let insecure = |name: &String| {
        (
            name.clone(),
            json!({"Name": name, "Mirrors": [], "Secure": false, "Official": false}),
        )
    };
    let mut registries: serde_json::Map<String, Value> =
        settings.insecure_registries.iter().map(insecure).collect();
    registries.insert(
        "docker.io".to_owned(),
        json!({"Name": "docker.io", "Mirrors": settings.registry_mirrors, "Secure": true, "Official": true}),
    );
    let mut value = json!({
        "ID": identity(api.home().root()),
        "Containers": listed.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": listed.len() - running - paused,
        "Images": guest.images,
        "Driver": "overlayfs",
        "DriverStatus": [["Backing Filesystem", "extfs"]],
        "SystemStatus": null,
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": null, "Log": ["json-file", "local", "none"]},
        "SystemTime": human::rfc3339(guest.time.as_ref()),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2",
        "KernelVersion": guest.kernel_version,
        "OperatingSystem": "Wherry",
        "OSVersion": guest.agent_version,
        "OSType": "linux",
        "Architecture": machine(&guest.architecture),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": registries,
            "Mirrors": settings.registry_mirrors,
        },
        "NCPU": guest.processors,
        "MemTotal": guest.memory_total,
        "DockerRootDir": "/var/lib/wherry",
        "HttpProxy": "", "HttpsProxy": "", "NoProxy": "",
        "Name": "wherry",
        "Labels": [],
        "ServerVersion": DOCKER,
        "Runtimes": {"wherry": {"path": "wherry-agent"}},
        "DefaultRuntime": "wherry",
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
    });
    if let (Value::Object(value), Value::Object(fixed)) = (&mut value, abilities()) {
        value.extend(fixed);
    }
    history::info(&mut value, version);
    Ok(Json(value))
}

/// What of an engine can be told beforehand.
fn abilities() -> Value {
    let commit = json!({"ID": "", "Expected": ""});
    let mut abilities = json!({
        "NFd": -1, "NGoroutines": -1, "NEventsListener": 0,
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive",
            "ControlAvailable": false, "Error": "", "RemoteManagers": null,
        },
        "Isolation": "",
        "InitBinary": "docker-init",
        "ContainerdCommit": commit, "RuncCommit": commit, "InitCommit": commit,
        "LiveRestoreEnabled": true,
        "GenericResources": null,
        "CDISpecDirs": [],
        "Warnings": null,
    });
    let has = [
        "MemoryLimit",
        "SwapLimit",
        "CpuCfsPeriod",
        "CpuCfsQuota",
        "CPUShares",
        "CPUSet",
        "PidsLimit",
        "IPv4Forwarding",
    ];
    let lacks = [
        "KernelMemoryTCP",
        "OomKillDisable",
        "Debug",
        "ExperimentalBuild",
    ];
    for (names, ability) in [(&has[..], true), (&lacks[..], false)] {
        for name in names {
            abilities[*name] = ability.into();
        }
    }
    abilities
}

/// Returns an id that stays with a home folder, in the form of Docker's.
fn identity(home: &std::path::Path) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let part = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, home).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    let digits = part(0) + &part(1);
    let groups =
        [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| &digits[from..to]);
    groups.join("-")
}

async fn events(State(api): State<Api>, uri: Uri) -> Result<Response> {
    let query = Query::of(&uri);
    let (since_ns, until_ns) = (query.moment_ns("since")?, query.moment_ns("until")?);
    if until_ns > 0 && since_ns > until_ns {
        return Err(ApiError::bad_request(
            "`since` time cannot be after `until` time",
        ));
    }
    let mut filters = query.filters()?;
    if !filters.any("scope", |scope| scope == "local") {
        // Everything is of this engine: what happens elsewhere, nobody tells.
        filters.add("type", "none");
    }
    // What does not happen here is not told, and no wrong filter either.
    for kind in [
        "builder", "config", "daemon", "node", "plugin", "secret", "service",
    ] {
        if filters.has(kind) {
            filters.add("type", kind);
        }
    }
    let request = EventsRequest {
        since_ns,
        until_ns,
        filters: filters
            .iter()
            .filter(|(key, values)| known_of_events(key) && !values.is_empty())
            .map(|(key, values)| EventFilter {
                key: key.clone(),
                values: values.clone(),
            })
            .collect(),
    };
    let mut events = api.system().await?.events(request).await?.into_inner();
    // The first says that the subscription stands: the client may act now.
    events.message().await?;
    json_stream(streams::unfold(events, |mut events| async move {
        let event = events.message().await.ok()??;
        Some((line(&event::json(&event)), events))
    }))
}

fn known_of_events(key: &str) -> bool {
    let absent = [
        "scope", "builder", "config", "daemon", "node", "plugin", "secret", "service",
    ];
    !absent.contains(&key)
}

async fn disk_usage(
    State(api): State<Api>,
    axum::Extension(version): axum::Extension<ApiVersion>,
    uri: Uri,
) -> Result<Json<Value>> {
    let kinds: BTreeSet<String> = Query::of(&uri).all("type").into_iter().collect();
    let known = ["container", "image", "volume", "build-cache"];
    if let Some(kind) = kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
        return Err(ApiError::bad_request(format!(
            "unknown object type: {kind}"
        )));
    }
    let wanted = |kind: &str| kinds.is_empty() || kinds.contains(kind);
    let usage = api
        .system()
        .await?
        .disk_usage(DiskUsageRequest {})
        .await?
        .into_inner();
    let mut value = json!({
        "LayersSize": 0, "Images": null, "Containers": null, "Volumes": null, "BuildCache": null,
    });
    if wanted("image") {
        let rows = usage.images.iter().filter_map(|usage| {
            let image = usage.image.as_ref()?;
            let mut row = image::summary(image);
            row["SharedSize"] = image.size.saturating_sub(usage.unique).into();
            row["Containers"] = usage.containers.into();
            if image.digests.is_empty() {
                row["RepoDigests"] = Value::Null;
            }
            if version < ApiVersion::minor(44) {
                row["VirtualSize"] = image.size.into();
            }
            Some(row)
        });
        value["Images"] = rows.collect();
        value["LayersSize"] = usage.layers.into();
    }
    if wanted("container") {
        let now = SystemTime::now();
        let rows = usage.containers.iter().filter_map(|usage| {
            let mut row = container::summary(usage.container.as_ref()?, now);
            if usage.size > 0 {
                row["SizeRw"] = usage.size.into();
                row["SizeRootFs"] = usage.size.into();
            }
            Some(row)
        });
        value["Containers"] = rows.collect();
    }
    if wanted("volume") {
        let rows = usage.volumes.iter().map(|found| {
            let mut row = volume::inspect(found);
            row["UsageData"] =
                json!({"RefCount": found.containers.len(), "Size": found.size.unwrap_or(0)});
            row
        });
        value["Volumes"] = rows.collect();
    }
    if wanted("build-cache") {
        value["BuildCache"] = json!([]);
    }
    Ok(Json(value))
}
