//! What of a container comes in streams: attach, logs, stats, and the wait for its
//! end.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream as streams};
use http::request::Parts;
use http::{Uri, header};
use hyper::upgrade::OnUpgrade;
use serde_json::{Value, json};
use tonic::transport::Channel;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::{
    AttachStream, ContainerStats, LogsStream, StatsRequest, WaitContainerRequest,
};

use crate::api::error::{ApiError, Result};
use crate::api::path::Name;
use crate::api::query::Query;
use crate::api::stream::{self, Client, Form, Wanted};
use crate::api::version::ApiVersion;
use crate::api::{Api, detach_keys};

/// How long is between two figures of `stats`, as Docker's are.
const STATS_PERIOD: Duration = Duration::from_secs(1);

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
    let form = Form::of(container.spec.as_ref().is_some_and(|spec| spec.terminal));
    let purpose = if follow {
        Purpose::Attach(AttachStream {
            container: container.id,
            stdin: wanted.stdin,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
            logs: query.flag("logs"),
        })
    } else {
        Purpose::Logs(LogsStream {
            container: container.id,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
            ..LogsStream::default()
        })
    };
    let stream = api.open(purpose).await?;
    let client = Client::of(&parts, upgrade, body);
    stream::answer(stream, wanted, form, client, None)
}

pub(super) async fn no_web_socket() -> ApiError {
    ApiError::not_implemented(
        "attaching over a WebSocket is not supported by Wherry: use POST …/attach",
    )
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
    let form = Form::of(container.spec.as_ref().is_some_and(|spec| spec.terminal));
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

pub(super) async fn wait(State(api): State<Api>, Name(name): Name, uri: Uri) -> Result<Response> {
    let condition = match Query::of(&uri).text("condition") {
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

pub(super) async fn stats(State(api): State<Api>, Name(name): Name, uri: Uri) -> Result<Response> {
    let query = Query::of(&uri);
    let follow = query.flag_or("stream", true);
    if follow && query.flag("one-shot") {
        return Err(ApiError::bad_request(
            "cannot have stream=true and one-shot=true",
        ));
    }
    let guest = api.guest().await?;
    let first = read_stats(guest.clone(), name.clone()).await?;
    if !follow && query.flag("one-shot") {
        let figures = stats_json(None, &first);
        return json_stream(streams::once(async move { line(&figures) }));
    }
    // As Docker: the first of a stream has nothing before it; the only one has.
    let state = if follow {
        (None, Some(first))
    } else {
        (Some(first), None)
    };
    let figures = streams::unfold(state, move |(before, ready)| {
        let (guest, name) = (guest.clone(), name.clone());
        async move {
            let now = match ready {
                Some(ready) => ready,
                None => {
                    tokio::time::sleep(STATS_PERIOD).await;
                    read_stats(guest, name).await.ok()?
                }
            };
            Some((line(&stats_json(before.as_ref(), &now)), (Some(now), None)))
        }
    });
    if follow {
        json_stream(figures)
    } else {
        json_stream(figures.take(1))
    }
}

async fn read_stats(guest: Channel, name: String) -> Result<ContainerStats> {
    let request = StatsRequest {
        containers: vec![name],
        all: false,
    };
    let answer = ContainersClient::new(guest)
        .stats(request)
        .await?
        .into_inner();
    let stats = answer.stats.into_iter().next();
    stats.ok_or_else(|| ApiError::internal("the guest answers with no figures"))
}

fn stats_json(before: Option<&ContainerStats>, now: &ContainerStats) -> Value {
    let time = |stats: Option<&ContainerStats>| {
        let since = stats
            .and_then(|stats| u64::try_from(stats.time_ns).ok())
            .map(Duration::from_nanos);
        match since {
            Some(since) => {
                humantime::format_rfc3339_nanos(std::time::UNIX_EPOCH + since).to_string()
            }
            None => "0001-01-01T00:00:00Z".to_owned(),
        }
    };
    let cpu = |stats: &ContainerStats| {
        json!({
            "cpu_usage": {
                "total_usage": stats.cpu_ns, "usage_in_kernelmode": 0, "usage_in_usermode": stats.cpu_ns,
            },
            // The processors' time, of which the container had a part.
            "system_cpu_usage": u64::try_from(stats.time_ns).unwrap_or(0).saturating_mul(stats.processors.into()),
            "online_cpus": stats.processors,
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        })
    };
    let none = ContainerStats::default();
    json!({
        "id": now.id,
        "name": format!("/{}", now.name),
        "read": time(Some(now)),
        "preread": time(before),
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": {"current": now.pids},
        "cpu_stats": cpu(now),
        "precpu_stats": cpu(before.unwrap_or(&none)),
        "memory_stats": {"usage": now.memory, "limit": now.memory_limit, "stats": {}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"major": 0, "minor": 0, "op": "read", "value": now.block_read},
                {"major": 0, "minor": 0, "op": "write", "value": now.block_written},
            ],
        },
        "networks": {
            "eth0": {
                "rx_bytes": now.network_received, "rx_packets": 0, "rx_errors": 0, "rx_dropped": 0,
                "tx_bytes": now.network_sent, "tx_packets": 0, "tx_errors": 0, "tx_dropped": 0,
            },
        },
    })
}
