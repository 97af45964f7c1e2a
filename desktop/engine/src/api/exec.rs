//! Execs: made, started with hijacked streams, resized and looked at.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bollard_stubs::models::{ExecConfig, ExecStartConfig};
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use serde_json::{Value, json};
use tonic::transport::Channel;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{CreateExecRequest, ExecStream, InspectExecRequest, ResizeRequest};

use super::error::{ApiError, Result};
use super::path::Name;
use super::query::Query;
use super::stream::{self, Client, Form, Wanted};
use super::version::ApiVersion;
use super::{Api, body, containers, detach_keys};

/// How long an exec may take to have an exit code once its output ended.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Between two looks at it.
const END_POLL: Duration = Duration::from_millis(5);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/containers/{name}/exec", post(create))
        .route("/exec/{id}/start", post(start))
        .route("/exec/{id}/resize", post(resize))
        .route("/exec/{id}/json", get(inspect))
}

async fn create(
    State(api): State<Api>,
    Extension(version): Extension<ApiVersion>,
    Name(name): Name,
    request: Body,
) -> Result<Response> {
    let config: ExecConfig = body::json(request).await?;
    let cmd = config.cmd.unwrap_or_default();
    if cmd.is_empty() {
        return Err(ApiError::bad_request("No exec command specified"));
    }
    let size = config
        .console_size
        .filter(|_| version >= ApiVersion::minor(42));
    let [rows, columns] = body::terminal_size(size.as_deref());
    detach_keys::check(config.detach_keys.as_deref().unwrap_or_default())?;
    let request = CreateExecRequest {
        container: name,
        cmd,
        env: config.env.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        terminal: config.tty.unwrap_or_default(),
        open_stdin: config.attach_stdin.unwrap_or_default(),
        privileged: config.privileged.unwrap_or_default(),
        terminal_rows: rows,
        terminal_columns: columns,
        without_stdout: !config.attach_stdout.unwrap_or_default(),
        without_stderr: !config.attach_stderr.unwrap_or_default(),
    };
    let mut containers = api.containers().await?;
    let id = containers.create_exec(request).await?.into_inner().exec;
    Ok((StatusCode::CREATED, Json(json!({"Id": id}))).into_response())
}

async fn start(State(api): State<Api>, Name(id): Name, request: Request) -> Result<Response> {
    let (mut parts, request) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let config: ExecStartConfig = body::json(request).await?;
    let mut containers = api.containers().await?;
    let exec = containers
        .inspect_exec(InspectExecRequest { exec: id.clone() })
        .await?;
    // As Docker: terminal and input are of the making, whatever the start says.
    let exec = exec.into_inner();
    if exec.running || exec.ended {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("Error: Exec command {id} is already running"),
        ));
    }
    let made = exec.request.unwrap_or_default();
    let detach = config.detach.unwrap_or_default();
    let [rows, columns] = body::terminal_size(config.console_size.as_deref());
    let resized = (rows > 0 && columns > 0 && made.terminal).then(|| ResizeRequest {
        container: String::new(),
        exec: id.clone(),
        rows,
        columns,
    });
    let purpose = Purpose::Exec(ExecStream {
        exec: id.clone(),
        detach,
    });
    if detach {
        api.open(purpose).await.map_err(ApiError::of_start)?;
        return Ok(StatusCode::OK.into_response());
    }
    let end: stream::Ending = Box::pin(ended(containers.clone(), id));
    let opening = async move {
        let stream = api.open(purpose).await?;
        if let Some(request) = resized {
            // One that ended at once has no terminal any more.
            let _ = containers.resize(request).await;
        }
        Ok(stream)
    };
    let wanted = Wanted {
        stdin: made.open_stdin,
        // A terminal has one output.
        stdout: !made.without_stdout || (made.terminal && !made.without_stderr),
        stderr: !made.without_stderr,
    };
    let client = Client::of(&parts, upgrade, Body::empty());
    stream::answer_opening(opening, wanted, Form::of(made.terminal), client, end).await
}

/// Waits until an exec whose output ended has an exit code: clients ask for it as
/// soon as their stream closes.
async fn ended(mut containers: ContainersClient<Channel>, exec: String) {
    let deadline = Instant::now() + END_DEADLINE;
    while Instant::now() < deadline {
        let request = InspectExecRequest { exec: exec.clone() };
        match containers.inspect_exec(request).await {
            Ok(found) if found.get_ref().running => tokio::time::sleep(END_POLL).await,
            _ => return,
        }
    }
}

async fn resize(State(api): State<Api>, Name(id): Name, uri: http::Uri) -> Result<StatusCode> {
    let (rows, columns) = containers::size(&Query::of(&uri))?;
    let request = ResizeRequest {
        container: String::new(),
        exec: id.clone(),
        rows,
        columns,
    };
    let mut containers = api.containers().await?;
    containers
        .inspect_exec(InspectExecRequest { exec: id })
        .await?;
    containers.resize(request).await?;
    Ok(StatusCode::OK)
}

async fn inspect(State(api): State<Api>, Name(id): Name) -> Result<Json<Value>> {
    let request = InspectExecRequest { exec: id };
    let exec = api
        .containers()
        .await?
        .inspect_exec(request)
        .await?
        .into_inner();
    let made = exec.request.unwrap_or_default();
    let (program, arguments) = match made.cmd.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments),
        None => ("", &[][..]),
    };
    let mut process = json!({
        "entrypoint": program,
        "arguments": arguments,
        "privileged": made.privileged,
        "tty": made.terminal,
    });
    if !made.user.is_empty() {
        process["user"] = made.user.into();
    }
    Ok(Json(json!({
        "ID": exec.id,
        "Running": exec.running,
        "ExitCode": if exec.ended { exec.exit_code.into() } else { Value::Null },
        "ContainerID": exec.container,
        "Pid": exec.pid,
        "CanRemove": false,
        "DetachKeys": "",
        "OpenStdin": made.open_stdin,
        "OpenStdout": !made.without_stdout,
        "OpenStderr": !made.without_stderr,
        "ProcessConfig": process,
    })))
}
