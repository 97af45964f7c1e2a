//! What containers are: the list, inspect, processes and changes.

use std::collections::HashMap;
use std::time::SystemTime;

use axum::extract::State;
use axum::{Extension, Json};
use http::Uri;
use regex::{Regex, RegexBuilder};
use serde_json::{Value, json};
use tonic::transport::Channel;
use wherry_docker::{container as shape, reference};
use wherry_proto::v1::container::Status;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::file_change::Kind;
use wherry_proto::v1::{
    Container, ContainerSize, DiffRequest, ListContainersRequest, SizesRequest, TopRequest,
};

use crate::api::error::Result;
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
    let bound = |key: &str| {
        let name = filters.values(key).first()?;
        containers
            .iter()
            .find(|container| is_called(container, name))
            .map(created_ns)
    };
    let (before, since) = (bound("before"), bound("since"));
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
    let rows = chosen.into_iter().map(|container| {
        let mut row = shape::summary(container, now);
        if let Some(size) = sizes.get(&container.id) {
            add_size(&mut row, size);
        }
        row
    });
    Ok(Json(rows.collect()))
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
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            container.ports.iter().any(|binding| {
                binding.host_port.to_string() == number && binding.protocol == protocol
            })
        })
        && any("expose", &|port| {
            let wanted = if port.contains('/') {
                port.to_owned()
            } else {
                format!("{port}/tcp")
            };
            shape::exposed_ports(container).contains(&wanted)
        })
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
