//! What containers are: the list, inspect, processes and changes.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use axum::extract::State;
use axum::{Extension, Json};
use http::{StatusCode, Uri};
use regex::{Regex, RegexBuilder};
use serde_json::{Value, json};
use tonic::transport::Channel;
use wherry_docker::{container as shape, reference};
use wherry_proto::v1::container::Status;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::file_change::Kind;
use wherry_proto::v1::{
    Container, ContainerSize, DiffRequest, ListContainersRequest, ListNetworksRequest,
    SizesRequest, TopRequest,
};

use crate::api::error::{ApiError, Result};
use crate::api::path::Name;
use crate::api::query::{Filters, Query};
use crate::api::version::ApiVersion;
use crate::api::{Api, history};

/// The most memory that a filter's regular expression may take, bytes.
const REGEX_SIZE: usize = 1 << 20;

const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "isolation",
];

pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Value>> {
    let query = Query::of(&uri);
    let filters = query.filters()?;
    filters.only(&FILTERS)?;
    check(&filters)?;
    let limit = query
        .number::<i64>("limit")?
        .and_then(|limit| usize::try_from(limit).ok());
    // As Docker: a filter by state and a limit look at those that ended too.
    let all = query.flag("all")
        || limit.is_some_and(|limit| limit > 0)
        || ["status", "exited"].iter().any(|key| filters.has(key));
    let guest = api.guest().await?;
    let request = ListContainersRequest { all: true };
    let listed = ContainersClient::new(guest.clone())
        .list(request)
        .await?
        .into_inner();
    let mut containers = listed.containers;
    containers.sort_by_key(|container| std::cmp::Reverse(created_ns(container)));
    let bound = |key: &str| -> Result<Option<i128>> {
        let Some(name) = filters.values(key).first() else {
            return Ok(None);
        };
        let mut all = containers.iter();
        match all.find(|container| is_called(container, name)) {
            Some(container) => Ok(Some(created_ns(container))),
            None => Err(ApiError::new(
                StatusCode::NOT_FOUND,
                format!("No such container: {name}"),
            )),
        }
    };
    let (before, since) = (bound("before")?, bound("since")?);
    let now = SystemTime::now();
    let chosen: Vec<&Container> = containers
        .iter()
        .filter(|container| all || shape::is_running(container))
        .filter(|container| before.is_none_or(|time| created_ns(container) < time))
        .filter(|container| since.is_none_or(|time| created_ns(container) > time))
        .filter(|container| matches(container, &filters))
        .take(limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX))
        .collect();
    let sizes = if query.flag("size") {
        let ids = chosen.iter().map(|container| container.id.clone());
        sizes(guest, ids.collect()).await?
    } else {
        HashMap::new()
    };
    let networks = networks_of_ended(&api, &chosen).await?;
    let rows = chosen.into_iter().map(|container| {
        let mut row = shape::summary(container, now);
        tell_networks(&mut row, container, &networks);
        if let Some(size) = sizes.get(&container.id) {
            add_size(&mut row, size);
            // A list has no figures that are 0, where an inspect has.
            wherry_docker::omit_zero(&mut row, &["SizeRw", "SizeRootFs"]);
        }
        row
    });
    Ok(Json(rows.collect()))
}

/// Refuses values of filters that mean nothing.
fn check(filters: &Filters) -> Result<()> {
    filters.one_of(
        "status",
        &[
            "created",
            "running",
            "paused",
            "restarting",
            "removing",
            "exited",
            "dead",
        ],
    )?;
    filters.one_of("health", &["none", "starting", "healthy", "unhealthy"])?;
    filters.flag("is-task")?;
    if let Some(code) = filters
        .values("exited")
        .iter()
        .find(|code| code.parse::<i64>().is_err())
    {
        return Err(ApiError::bad_request(format!(
            "invalid filter 'exited={code}': it is no number"
        )));
    }
    for key in ["expose", "publish"] {
        for port in filters.values(key) {
            if ports(port).is_none() {
                return Err(ApiError::bad_request(format!(
                    "invalid filter '{key}={port}': it is no port, 80, 80/udp or 80-90"
                )));
            }
        }
    }
    Ok(())
}

/// Reads a port or several of one protocol: `80`, `80/udp`, `80-90`.
fn ports(text: &str) -> Option<(RangeInclusive<u16>, &str)> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    Some((first.parse().ok()?..=last.parse().ok()?, protocol))
}

/// Returns the ids of networks by their names, where one of the containers does not
/// run: those that do tell the ids themselves.
async fn networks_of_ended(
    api: &Api,
    containers: &[&Container],
) -> Result<HashMap<String, String>> {
    if containers.iter().all(|container| !ended(container)) {
        return Ok(HashMap::new());
    }
    let listed = api.networks().await?.list(ListNetworksRequest {}).await?;
    let networks = listed.into_inner().networks.into_iter();
    Ok(networks.map(|network| (network.name, network.id)).collect())
}

fn ended(container: &Container) -> bool {
    container.started.is_some() && !shape::is_running(container)
}

/// Tells on which networks a container was that ended: Compose compares them with
/// those that it wants.
fn tell_networks(value: &mut Value, container: &Container, ids: &HashMap<String, String>) {
    if !ended(container) {
        return;
    }
    if let Value::Object(places) = &mut value["NetworkSettings"]["Networks"] {
        for (name, place) in places {
            if let Some(id) = ids.get(name) {
                place["NetworkID"] = id.as_str().into();
            }
        }
    }
}

/// Asks how much containers have written; returns it by their ids.
async fn sizes(guest: Channel, containers: Vec<String>) -> Result<HashMap<String, ContainerSize>> {
    let sizes = ContainersClient::new(guest)
        .sizes(SizesRequest { containers })
        .await?;
    let sizes = sizes.into_inner().sizes.into_iter();
    Ok(sizes.map(|size| (size.container.clone(), size)).collect())
}

fn add_size(shape: &mut Value, size: &ContainerSize) {
    shape["SizeRw"] = size.written.into();
    shape["SizeRootFs"] = size.root.into();
}

fn created_ns(container: &Container) -> i128 {
    let created = container.created.unwrap_or_default();
    i128::from(created.seconds) * 1_000_000_000 + i128::from(created.nanos)
}

fn is_called(container: &Container, name: &str) -> bool {
    container.name == name.trim_start_matches('/')
        || (!name.is_empty() && container.id.starts_with(name))
}

/// Tells whether a name fits the regular expression of a filter, with its slash or
/// without.
fn is_like(name: &str, pattern: &str) -> bool {
    let expression = RegexBuilder::new(pattern).size_limit(REGEX_SIZE).build();
    let fits =
        |expression: &Regex| expression.is_match(name) || expression.is_match(&format!("/{name}"));
    name == pattern.trim_start_matches('/') || expression.as_ref().is_ok_and(fits)
}

fn matches(container: &Container, filters: &Filters) -> bool {
    let any = |key: &str, holds: &dyn Fn(&str) -> bool| filters.any(key, holds);
    let spec = container.spec.clone().unwrap_or_default();
    let labels = shape::labels(container);
    any("id", &|id| container.id.starts_with(id))
        && any("name", &|name| is_like(&container.name, name))
        && any("status", &|status| {
            shape::status_name(container.status()) == status
        })
        && any("exited", &|code| {
            container.status() == Status::Exited && container.exit_code.to_string() == code
        })
        && any("health", &|health| shape::health_word(container) == health)
        && any("ancestor", &|image| {
            container.image_id == image
                || container
                    .image_id
                    .trim_start_matches("sha256:")
                    .starts_with(image)
                || reference::normalised(&spec.image) == reference::normalised(image)
        })
        && any("network", &|network| {
            let named = wherry_docker::network::names(&spec)
                .iter()
                .any(|name| name == &network);
            named
                || container
                    .endpoints
                    .iter()
                    .any(|place| place.network == network)
        })
        && any("volume", &|volume| {
            container.mounts.iter().any(|mount| {
                mount.name == volume || mount.target == volume || mount.source == volume
            })
        })
        && any("publish", &|port| {
            ports(port).is_some_and(|(numbers, protocol)| {
                container.ports.iter().any(|binding| {
                    let within = |port: u16| numbers.contains(&port);
                    binding.protocol == protocol
                        && u16::try_from(binding.host_port).is_ok_and(within)
                })
            })
        })
        && any("expose", &|port| {
            ports(port).is_some_and(|(mut numbers, protocol)| {
                let exposed = shape::exposed_ports(container);
                numbers.any(|number| exposed.contains(&format!("{number}/{protocol}")))
            })
        })
        // Tasks are a swarm's.
        && any("is-task", &|flag| !matches!(flag, "1" | "true"))
        && filters.matches_labels(|key| labels.get(key))
}

pub(super) async fn inspect(
    State(api): State<Api>,
    Extension(version): Extension<ApiVersion>,
    Name(name): Name,
    uri: Uri,
) -> Result<Json<Value>> {
    let guest = api.guest().await?;
    let container = super::inspect(&guest, &name).await?;
    let mut value = shape::inspect(&container);
    history::container(&mut value, version);
    let networks = networks_of_ended(&api, &[&container]).await?;
    tell_networks(&mut value, &container, &networks);
    if Query::of(&uri).flag("size") {
        let sizes = sizes(guest, vec![container.id]).await?;
        sizes.values().for_each(|size| add_size(&mut value, size));
    }
    Ok(Json(value))
}

pub(super) async fn top(
    State(api): State<Api>,
    Name(container): Name,
    uri: Uri,
) -> Result<Json<Value>> {
    let arguments = Query::of(&uri)
        .text("ps_args")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let request = TopRequest {
        container,
        arguments,
    };
    let top = api.containers().await?.top(request).await?.into_inner();
    let processes: Vec<_> = top
        .processes
        .into_iter()
        .map(|process| process.fields)
        .collect();
    Ok(Json(json!({"Titles": top.titles, "Processes": processes})))
}

pub(super) async fn changes(State(api): State<Api>, Name(container): Name) -> Result<Json<Value>> {
    let request = DiffRequest { container };
    let diff = api.containers().await?.diff(request).await?.into_inner();
    let change = |change: &wherry_proto::v1::FileChange| {
        let kind = match change.kind() {
            Kind::Added => 1,
            Kind::Deleted => 2,
            Kind::Modified | Kind::Unspecified => 0,
        };
        json!({"Path": change.path, "Kind": kind})
    };
    Ok(Json(match diff.changes.is_empty() {
        true => Value::Null,
        false => diff.changes.iter().map(change).collect(),
    }))
}
