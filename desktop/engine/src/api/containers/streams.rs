//! What of a container comes in streams: attach, logs, and the wait for its end.

use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream as streams};
use http::header;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use serde_json::{Value, json};
use wherry_client::BulkStream;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::{AttachStream, LogsStream, WaitContainerRequest};

use crate::api::error::{ApiError, Result};
use crate::api::path::Name;
use crate::api::query::Query;
use crate::api::stream::{self, Client, Form, Wanted};
use crate::api::version::ApiVersion;
use crate::api::{Api, detach_keys, web_socket};

pub(super) async fn attach(
    State(api): State<Api>,
    Name(name): Name,
    request: Request,
) -> Result<Response> {
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let query = Query::of(&parts.uri);
    detach_keys::check(query.text("detachKeys"))?;
    let follow = query.flag("stream");
    let wanted = Wanted {
        stdin: query.flag("stdin") && follow,
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
    };
    let container = super::inspect(&api.guest().await?, &name).await?;
    let terminal = container.spec.as_ref().is_some_and(|spec| spec.terminal);
    let form = match follow {
        true => Form::of(terminal),
        false => Form::of_log(terminal),
    };
    let stream = open(&api, container.id, wanted, &query).await?;
    let client = Client::of(&parts, upgrade, body);
    stream::answer(stream, wanted, form, client, None)
}

/// Opens the streams of a container as a query asks for them: as they come, or what
/// was logged so far.
async fn open(api: &Api, container: String, wanted: Wanted, query: &Query) -> Result<BulkStream> {
    let purpose = if query.flag("stream") {
        Purpose::Attach(AttachStream {
            container,
            stdin: wanted.stdin,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
            logs: query.flag("logs"),
        })
    } else {
        Purpose::Logs(LogsStream {
            container,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
            ..LogsStream::default()
        })
    };
    api.open(purpose).await
}

/// `GET …/attach/ws`: as [`attach`], over a WebSocket.
pub(super) async fn attach_web_socket(
    State(api): State<Api>,
    Name(name): Name,
    parts: Parts,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response> {
    let container = super::inspect(&api.guest().await?, &name).await?;
    let upgrade = upgrade.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let version = ApiVersion::of(&parts);
    let query = Query::of(&parts.uri);
    // Before 1.42 everything was attached to, whatever was asked for.
    let asked = |stream: &str| version < ApiVersion::minor(42) || query.flag(stream);
    let wanted = Wanted {
        stdin: asked("stdin") && query.flag("stream"),
        stdout: asked("stdout"),
        stderr: asked("stderr"),
    };
    let stream = open(&api, container.id, wanted, &query).await?;
    let text = version < ApiVersion::minor(28);
    Ok(web_socket::answer(upgrade, stream, wanted, text))
}

pub(super) async fn logs(
    State(api): State<Api>,
    Name(name): Name,
    parts: Parts,
) -> Result<Response> {
    let version = ApiVersion::of(&parts);
    let query = Query::of(&parts.uri);
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::bad_request(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    let tail = match query.text("tail") {
        "" | "all" => None,
        // As Docker: what is no number of lines is all of them.
        number => number.parse().ok(),
    };
    let (since_ns, until_ns) = (query.time_ns("since")?, query.time_ns("until")?);
    let container = super::inspect(&api.guest().await?, &name).await?;
    let form = Form::of_log(container.spec.as_ref().is_some_and(|spec| spec.terminal));
    let purpose = Purpose::Logs(LogsStream {
        container: container.id,
        stdout,
        stderr,
        follow: query.flag("follow"),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        tail,
        since_ns,
        until_ns,
    });
    stream::answer_output(api.open(purpose).await?, form, version)
}

pub(super) async fn wait(
    State(api): State<Api>,
    Name(name): Name,
    parts: Parts,
) -> Result<Response> {
    let condition = match Query::of(&parts.uri).text("condition") {
        _ if ApiVersion::of(&parts) < ApiVersion::minor(30) => Condition::NotRunning,
        "" | "not-running" => Condition::NotRunning,
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        other => {
            return Err(ApiError::bad_request(format!(
                "invalid condition: {other:?}"
            )));
        }
    };
    let guest = api.guest().await?;
    let container = super::inspect(&guest, &name).await?;
    let request = WaitContainerRequest {
        container: container.id,
        condition: condition.into(),
    };
    // The call is under way before the client hears of it: it starts the container
    // next, and its end must not be missed.
    let mut containers = ContainersClient::new(guest);
    let mut waiting = Box::pin(async move { containers.wait(request).await });
    let early = tokio::time::timeout(Duration::from_millis(5), &mut waiting).await;
    let answer = async move {
        let answered = match early {
            Ok(answered) => answered,
            Err(_) => waiting.await,
        };
        // Why a start failed is the start's to say; an error here is one of the wait.
        let value = match answered {
            Ok(answer) => json!({"StatusCode": answer.into_inner().exit_code}),
            Err(status) => json!({"StatusCode": 125, "Error": {"Message": status.message()}}),
        };
        line(&value)
    };
    json_stream(streams::once(answer))
}

/// Returns a JSON value and a line's end.
pub(in crate::api) fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

/// Answers with JSON values as they come; the head goes at once.
pub(in crate::api) fn json_stream(
    values: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Response> {
    let body = Body::from_stream(values.map(Ok::<_, std::convert::Infallible>));
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(ApiError::internal)
}
