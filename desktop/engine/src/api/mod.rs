//! The Docker Engine API, version 1.51 down to 1.24, on a local socket.
//!
//! It holds no state: each call is translated to the guest's own services, as
//! the `wherry` command's are. What the API answers is in `docs/engine-api.md`.

mod body;
mod containers;
mod error;
mod exec;
mod images;
mod query;
mod stream;
mod swarm;
mod system;
mod version;
mod volumes;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tonic::transport::Channel;
use tower::ServiceExt;
use wherry_client::local::{LocalListener, LocalStream};

use crate::daemon::{MachineLink, Translator};
use error::{ApiError, Result};

/// How long a client may take for a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// What every call has.
#[derive(Clone)]
pub(super) struct Api {
    link: Arc<MachineLink>,
}

impl Api {
    /// Returns a channel to the guest, whose machine is started where none runs.
    async fn guest(&self) -> Result<Channel> {
        Ok(self.link.running_guest().await?)
    }

    /// Returns the calls on containers that name things of the host.
    fn containers(&self) -> Translator {
        Translator::new(self.link.clone())
    }
}

/// Serves the API on `listener` for ever.
pub(crate) async fn serve(listener: LocalListener, link: Arc<MachineLink>) {
    let router = router().with_state(Api { link });
    loop {
        match listener.accept().await {
            Ok(stream) => {
                tokio::spawn(serve_connection(stream, router.clone()));
            }
            // Out of descriptors, most likely: what is open may close.
            Err(error) => {
                tracing::warn!(%error, "a Docker client could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(stream: LocalStream, router: Router) {
    let service = service_fn(move |request| answer(router.clone(), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        // A client may end its request's stream and still read the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a Docker client's connection ended");
    }
}

async fn answer(
    router: Router,
    mut request: Request<Incoming>,
) -> std::result::Result<Response, Infallible> {
    let mut response = match version::split(request.uri()) {
        Ok((version, uri)) => {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(version);
            let request = request.map(axum::body::Body::new);
            match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set("api-version", "1.51");
    set("docker-experimental", "false");
    set("ostype", "linux");
    set(header::SERVER.as_str(), concat!("Docker/28.5.2 (linux) Wherry/", env!("CARGO_PKG_VERSION")));
    Ok(response)
}

fn router() -> Router<Api> {
    Router::new()
        .merge(system::routes())
        .merge(containers::routes())
        .merge(exec::routes())
        .merge(images::routes())
        .merge(volumes::routes())
        .merge(swarm::routes())
        .fallback(unknown)
}

/// Answers what no route takes: Docker's own words for a path that is none.
async fn unknown() -> ApiError {
    ApiError::new(http::StatusCode::NOT_FOUND, "page not found")
}
