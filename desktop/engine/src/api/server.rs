//! The HTTP server: connections, and what every answer carries.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt;
use wherry_client::local::LocalListener;

use super::error::ApiError;
use super::hangup::Hangup;
use super::tcp::Names;
use super::{Api, router, version};

/// How long a client may take for a request's head, and for a short body.
const DEADLINE: Duration = Duration::from_secs(30);

/// The longest body that is read before its request is looked at, bytes.
const SHORT_BODY: u64 = 64 * 1024;

/// The longest head of a request, bytes.
const LONGEST_HEAD: usize = 256 * 1024;

/// How long to wait where no connection can be accepted, for want of descriptors
/// most likely.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The version of Docker's engine whose behaviour this is.
pub(super) const DOCKER: &str = "28.5.2";

/// Serves the API on `listener` for ever.
pub(crate) async fn serve(listener: LocalListener, api: Api) {
    let router = router().with_state(api);
    loop {
        match listener.accept().await {
            Ok(stream) => match stream.is_from_this_user() {
                Ok(true) => match stream.hangup() {
                    Ok(hangup) => {
                        let hangup = Hangup::Local(hangup);
                        tokio::spawn(serve_connection(stream, hangup, router.clone(), None));
                    }
                    Err(error) => tracing::warn!(%error, "a Docker client cannot be served"),
                },
                Ok(false) => tracing::warn!("a Docker client of another user was turned away"),
                Err(error) => tracing::warn!(%error, "cannot tell whose a Docker client is"),
            },
            Err(error) => {
                tracing::warn!(%error, "a Docker client could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Serves one connection until it ends. Over TCP, `names` are those that the server
/// may be asked by.
pub(super) async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    hangup: Hangup,
    router: Router,
    names: Option<Arc<Names>>,
) {
    // A client of the local socket may end its request's stream and still read the
    // answer. Over TCP that looks like a client that has gone, as it does to dockerd.
    let half_close = matches!(hangup, Hangup::Local(_));
    let its = hangup.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(its.clone());
        answer(router.clone(), request, names.clone())
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(DEADLINE)
        .max_buf_size(LONGEST_HEAD)
        .half_close(half_close)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // A client that waits for an answer and goes is noticed by nothing else, for
    // one that only ended its sending looks the same to a reader.
    let served = tokio::select! {
        served = connection => served,
        () = hangup.wait() => return,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a Docker client's connection ended");
    }
}

async fn answer(
    router: Router,
    mut request: Request<Incoming>,
    names: Option<Arc<Names>>,
) -> Result<Response, Infallible> {
    tracing::debug!(method = %request.method(), path = request.uri().path(), "a Docker client asks");
    let checked = names.map_or(Ok(()), |names| {
        names.check(request.uri(), request.headers())
    });
    let mut response = match checked.and_then(|()| version::split(request.uri())) {
        Ok((version, uri)) => {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(version);
            match with_short_body(request).await {
                Ok(request) => match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                },
                Err(error) => error.into_response(),
            }
        }
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("api-version", "1.51"),
        ("docker-experimental", "false"),
        ("ostype", "linux"),
        (header::SERVER.as_str(), SERVER),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Reads a short body before anything is answered: who is answered and hung up on while
/// he sends takes that for a broken connection. Long ones are their handler's to read.
async fn with_short_body(request: Request<Incoming>) -> Result<Request<Body>, ApiError> {
    let length = request.body().size_hint().exact();
    if !length.is_some_and(|length| (1..=SHORT_BODY).contains(&length)) {
        return Ok(request.map(Body::new));
    }
    let (parts, body) = request.into_parts();
    let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request's body is late");
    let read = tokio::time::timeout(DEADLINE, body.collect());
    let body = read.await.map_err(late)?.map_err(|error| {
        ApiError::bad_request(format!("the request's body is cut off: {error}"))
    })?;
    Ok(Request::from_parts(parts, Body::from(body.to_bytes())))
}

const SERVER: &str = concat!("Docker/28.5.2 (linux) Wherry/", env!("CARGO_PKG_VERSION"));
