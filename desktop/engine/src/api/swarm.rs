//! Swarm, its nodes, services, secrets and configs, and plugins: answered as an
//! engine answers that is in no swarm and has no plugins.

use axum::Router;
use axum::routing::{any, get, post};
use http::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::error::ApiError;
use super::path::Name;

pub(super) fn routes() -> Router<Api> {
    let mut routes = Router::new()
        .route("/plugins", get(|| async { axum::Json([(); 0]) }))
        .route("/plugins/privileges", get(no_plugins))
        .route("/plugins/pull", post(no_plugins))
        .route("/plugins/create", post(no_plugins))
        .route("/plugins/{*rest}", any(no_such_plugin))
        .route("/swarm/init", post(no_swarm_here))
        .route("/swarm/join", post(no_swarm_here))
        .route("/session", post(no_sessions))
        .route("/build", post(no_build))
        .route("/build/prune", post(nothing_built))
        .route("/build/{*rest}", any(no_build));
    for path in [
        "/swarm",
        "/nodes",
        "/services",
        "/tasks",
        "/secrets",
        "/configs",
    ] {
        routes = routes
            .route(path, any(no_manager))
            .route(&format!("{path}/{{*rest}}"), any(no_manager));
    }
    routes
}

async fn no_manager() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
         to connect this node to swarm and try again.",
    )
}

async fn no_swarm_here() -> ApiError {
    ApiError::not_implemented("Wherry runs containers on one computer and forms no swarm")
}

async fn no_such_plugin(Name(rest): Name) -> ApiError {
    let name = ["json", "enable", "disable", "push", "set", "upgrade"]
        .iter()
        .find_map(|verb| rest.strip_suffix(verb)?.strip_suffix('/'))
        .unwrap_or(&rest);
    ApiError::new(StatusCode::NOT_FOUND, format!("plugin {name:?} not found"))
}

async fn no_plugins() -> ApiError {
    ApiError::not_implemented("Wherry takes no plugins of Docker's engine")
}

/// Where nothing is built, nothing is left of builds.
async fn nothing_built() -> axum::Json<Value> {
    axum::Json(json!({"CachesDeleted": null, "SpaceReclaimed": 0}))
}

async fn no_build() -> ApiError {
    ApiError::not_implemented("this version of Wherry does not build images; pull or load them")
}

async fn no_sessions() -> ApiError {
    ApiError::not_implemented("this version of Wherry has no BuildKit sessions")
}
