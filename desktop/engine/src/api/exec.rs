//! Execs: made, started with hijacked streams, resized and looked at.

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bollard_stubs::models::{ExecConfig, ExecStartConfig};
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use serde_json::{Value, json};
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{CreateExecRequest, ExecStream, InspectExecRequest, ResizeRequest};

use super::error::{ApiError, Result};
use super::path::Name;
use super::query::Query;
use super::stream::{self, Form, Wanted};
use super::version::ApiVersion;
use super::{Api, body};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/containers/{name}/exec", post(create))
        .route("/exec/{id}/start", post(start))
        .route("/exec/{id}/resize", post(resize))
        .route("/exec/{id}/json", get(inspect))
}

async fn create(State(api): State<Api>, Name(name): Name, request: Body) -> Result<Response> {
    let config: ExecConfig = body::json(request).await?;
    let cmd = config.cmd.unwrap_or_default();
    if cmd.is_empty() {
        return Err(ApiError::bad_request("No exec command specified"));
    }
    let [rows, columns] = size(config.console_size.as_deref());
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
    };
    let mut containers = api.containers().await?;
    let id = containers.create_exec(request).await?.into_inner().exec;
    Ok((StatusCode::CREATED, Json(json!({"Id": id}))).into_response())
}

async fn start(State(api): State<Api>, Name(id): Name, request: Request) -> Result<Response> {
    let (mut parts, request) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let version = ApiVersion::of(&parts);
    let config: ExecStartConfig = body::json(request).await?;
    let mut containers = api.containers().await?;
    let [rows, columns] = size(config.console_size.as_deref());
    if rows > 0 && columns > 0 {
        let request = ResizeRequest {
            container: String::new(),
            exec: id.clone(),
            rows,
            columns,
        };
        containers.resize(request).await?;
    }
    let detach = config.detach.unwrap_or_default();
    let stream = api
        .open(Purpose::Exec(ExecStream { exec: id, detach }))
        .await?;
    if detach {
        return Ok(StatusCode::OK.into_response());
    }
    let wanted = Wanted {
        stdin: true,
        stdout: true,
        stderr: true,
    };
    let form = Form::of(config.tty.unwrap_or_default());
    stream::answer(stream, wanted, form, version, &parts.headers, upgrade)
}

/// Returns rows and columns; 0 for what is left out or beyond any terminal.
fn size(size: Option<&[usize]>) -> [u32; 2] {
    let side = |index: usize| {
        let side = size.and_then(|size| size.get(index)).copied();
        side.and_then(|side| u16::try_from(side).ok())
            .map_or(0, u32::from)
    };
    [side(0), side(1)]
}

async fn resize(State(api): State<Api>, Name(id): Name, uri: http::Uri) -> Result<StatusCode> {
    let query = Query::of(&uri);
    let request = ResizeRequest {
        container: String::new(),
        exec: id,
        rows: query.number("h")?.unwrap_or_default(),
        columns: query.number("w")?.unwrap_or_default(),
    };
    api.containers().await?.resize(request).await?;
    Ok(StatusCode::OK)
}

async fn inspect(State(api): State<Api>, Name(id): Name) -> Result<Json<Value>> {
    let mut containers = api.containers().await?;
    let exec = containers
        .inspect_exec(InspectExecRequest { exec: id })
        .await?
        .into_inner();
    Ok(Json(json!({
        "ID": exec.id,
        "Running": exec.running,
        // Docker's has no code before the process ends.
        "ExitCode": if exec.running { Value::Null } else { exec.exit_code.into() },
        "ContainerID": exec.container,
        "Pid": exec.pid,
        "CanRemove": false,
        "DetachKeys": "",
        "OpenStdin": true,
        "OpenStdout": true,
        "OpenStderr": true,
        "ProcessConfig": {
            "entrypoint": "", "arguments": [], "privileged": false, "tty": false,
        },
    })))
}
