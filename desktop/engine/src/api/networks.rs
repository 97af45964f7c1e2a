//! Networks.

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bollard_stubs::models::{
    EndpointSettings, Ipam, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
};
use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tonic::Request;
use wherry_docker::network as shape;
use wherry_proto::v1::{
    ConnectNetworkRequest, CreateNetworkRequest, DisconnectNetworkRequest, InspectNetworkRequest,
    ListNetworksRequest, Network, NetworkAttachment, PruneNetworksRequest, RemoveNetworkRequest,
    Subnet,
};

use super::error::{ApiError, Result};
use super::path::Name;
use super::query::{Filters, Query};
use super::{Api, body};
use crate::daemon;

const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{name}", get(inspect).delete(remove))
        .route("/networks/{name}/connect", post(connect))
        .route("/networks/{name}/disconnect", post(disconnect))
}

async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Value>> {
    let filters = Query::of(&uri).filters()?;
    filters.only(&FILTERS)?;
    filters.one_of("type", &["builtin", "custom"])?;
    filters.flag("dangling")?;
    let listed = api
        .networks()
        .await?
        .list(ListNetworksRequest {})
        .await?
        .into_inner();
    let networks = listed
        .networks
        .iter()
        .filter(|network| matches(network, &filters));
    let networks = networks.map(|network| {
        let mut value = shape::inspect(network);
        // Docker tells the members in an inspect alone.
        value["Containers"] = json!({});
        value
    });
    Ok(Json(networks.collect()))
}

fn matches(network: &Network, filters: &Filters) -> bool {
    let predefined = matches!(network.name.as_str(), "bridge" | "host" | "none");
    filters.any("id", |id| network.id.starts_with(id))
        && filters.any("name", |name| network.name.contains(name))
        && filters.any("driver", |driver| network.driver == driver)
        && filters.any("scope", |scope| scope == "local")
        && filters.any("type", |kind| (kind == "builtin") == predefined)
        && filters.any("dangling", |flag| {
            matches!(flag, "1" | "true") == (network.users == 0 && !predefined)
        })
        && filters.matches_labels(|key| network.labels.get(key))
}

async fn inspect(State(api): State<Api>, Name(network): Name, uri: Uri) -> Result<Json<Value>> {
    // Everything is of this engine.
    if !matches!(Query::of(&uri).text("scope"), "" | "local") {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!("network {network} not found"),
        ));
    }
    let request = InspectNetworkRequest { network };
    let network = api.networks().await?.inspect(request).await?.into_inner();
    Ok(Json(shape::inspect(&network)))
}

async fn create(State(api): State<Api>, request: Body) -> Result<Response> {
    let request: NetworkCreateRequest = body::json(request).await?;
    let driver = request.driver.unwrap_or_default();
    if !matches!(driver.as_str(), "" | "default" | "bridge") {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!(
                "could not find plugin {driver} in v1 plugin registry: plugin not found: Wherry's networks are bridges"
            ),
        ));
    }
    if request.ingress == Some(true) || request.config_only == Some(true) {
        return Err(ApiError::not_implemented(
            "Wherry forms no swarm, and has no networks for one",
        ));
    }
    let subnets = subnets(request.ipam)?;
    let request = CreateNetworkRequest {
        name: request.name,
        driver: "bridge".to_owned(),
        ipv6: request.enable_ipv6.unwrap_or_default()
            || subnets.iter().any(|subnet| subnet.subnet.contains(':')),
        subnets,
        internal: request.internal.unwrap_or_default(),
        labels: request.labels.unwrap_or_default(),
        options: request.options.unwrap_or_default(),
        host_routes: Vec::new(),
    };
    api.guest().await?;
    let created = daemon::create_network(&api.link, Request::new(request))
        .await?
        .into_inner();
    let answer = json!({"Id": created.id, "Warning": created.warnings.join("\n")});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

fn subnets(ipam: Option<Ipam>) -> Result<Vec<Subnet>> {
    let ipam = ipam.unwrap_or_default();
    if !matches!(ipam.driver.as_deref(), None | Some("" | "default")) {
        return Err(ApiError::bad_request(
            "the only driver of addresses (IPAM) is default",
        ));
    }
    let subnets = ipam
        .config
        .unwrap_or_default()
        .into_iter()
        .map(|config| Subnet {
            subnet: config.subnet.unwrap_or_default(),
            gateway: config.gateway.unwrap_or_default(),
            range: config.ip_range.unwrap_or_default(),
            auxiliary: config.auxiliary_addresses.unwrap_or_default(),
        });
    // Compose sends an empty one where it has no wishes.
    Ok(subnets
        .filter(|subnet| *subnet != Subnet::default())
        .collect())
}

/// Returns a place on a network as a client asks for it.
pub(super) fn attachment(network: String, settings: EndpointSettings) -> NetworkAttachment {
    let addresses = settings.ipam_config.unwrap_or_default();
    NetworkAttachment {
        network,
        aliases: settings.aliases.unwrap_or_default(),
        ipv4_address: addresses.ipv4_address.unwrap_or_default(),
        ipv6_address: addresses.ipv6_address.unwrap_or_default(),
        mac_address: settings.mac_address.unwrap_or_default(),
        links: settings.links.unwrap_or_default(),
        // What is beyond has the highest there is.
        gateway_priority: i32::try_from(settings.gw_priority.unwrap_or_default())
            .unwrap_or(i32::MAX),
        driver_options: settings.driver_opts.unwrap_or_default(),
        link_local_addresses: addresses.link_local_ips.unwrap_or_default(),
    }
}

async fn connect(State(api): State<Api>, Name(network): Name, request: Body) -> Result<StatusCode> {
    let request: NetworkConnectRequest = body::json(request).await?;
    let request = ConnectNetworkRequest {
        container: request.container,
        attachment: Some(attachment(
            network,
            request.endpoint_config.unwrap_or_default(),
        )),
    };
    api.networks().await?.connect_container(request).await?;
    Ok(StatusCode::OK)
}

async fn disconnect(
    State(api): State<Api>,
    Name(network): Name,
    request: Body,
) -> Result<StatusCode> {
    let request: NetworkDisconnectRequest = body::json(request).await?;
    let request = DisconnectNetworkRequest {
        network,
        container: request.container,
        force: request.force.unwrap_or_default(),
    };
    api.networks().await?.disconnect_container(request).await?;
    Ok(StatusCode::OK)
}

async fn remove(State(api): State<Api>, Name(network): Name) -> Result<StatusCode> {
    let request = RemoveNetworkRequest {
        network,
        force: false,
    };
    api.networks().await?.remove(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn prune(State(api): State<Api>, uri: Uri) -> Result<Json<Value>> {
    let filters = Query::of(&uri).filters()?;
    filters.only(&["label", "label!", "until"])?;
    let request = PruneNetworksRequest {
        labels: filters.values("label").to_vec(),
        without_labels: filters.values("label!").to_vec(),
        until_ns: filters.until_ns()?,
    };
    let pruned = api.networks().await?.prune(request).await?.into_inner();
    let removed = if pruned.removed.is_empty() {
        Value::Null
    } else {
        json!(pruned.removed)
    };
    Ok(Json(json!({"NetworksDeleted": removed})))
}
