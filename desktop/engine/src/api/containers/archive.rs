//! Files of containers, as tar: the archive calls, export and commit.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard_stubs::models::ContainerConfig;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream as streams};
use http::{HeaderValue, StatusCode, Uri, header};
use serde_json::json;
use wherry_client::{BulkReader, StreamError};
use wherry_docker::human;
use wherry_proto::frame::Kind;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{
    CommitRequest, CopyInStream, CopyOutStream, ExportStream, ImageConfig, PathStatus,
    StatPathRequest,
};

use crate::api::error::{ApiError, Result};
use crate::api::path::Name;
use crate::api::query::Query;
use crate::api::{Api, body};

const TAR: &str = "application/x-tar";
const STAT: &str = "x-docker-container-path-stat";

/// Bits of Go's `os.FileMode`, which are not those of stat(2).
const GO_KINDS: [(u32, u32); 5] = [
    (0o040_000, 1 << 31), // directory
    (0o120_000, 1 << 27), // symbolic link
    (0o010_000, 1 << 25), // named pipe
    (0o140_000, 1 << 24), // socket
    (0o060_000, 1 << 26), // block device
];

fn path(uri: &Uri) -> Result<String> {
    match Query::of(uri).text("path") {
        "" => Err(ApiError::bad_request(
            "bad parameter: 'path' cannot be empty",
        )),
        path => Ok(path.to_owned()),
    }
}

async fn stat_of(api: &Api, container: String, path: String) -> Result<String> {
    let request = StatPathRequest {
        container,
        path,
        follow: false,
    };
    let mut containers = api.containers().await?;
    let status = containers.stat_path(request).await?.into_inner();
    Ok(stat_header(&status))
}

fn stat_header(status: &PathStatus) -> String {
    let value = json!({
        "name": status.name,
        "size": status.size,
        "mode": go_mode(status.mode),
        "mtime": modified(status),
        "linkTarget": status.link_target,
    });
    BASE64_STANDARD.encode(value.to_string())
}

/// A file's time may be that of 1970 itself, which elsewhere stands for none.
fn modified(status: &PathStatus) -> String {
    match status.modified {
        Some(time) if time.seconds != 0 || time.nanos != 0 => human::rfc3339(Some(&time)),
        _ => "1970-01-01T00:00:00Z".to_owned(),
    }
}

/// Returns the mode of stat(2) as Go has it.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        // A character device has two bits there.
        0o020_000 => (1 << 26) | (1 << 21),
        kind => GO_KINDS
            .iter()
            .find(|(unix, _)| *unix == kind)
            .map_or(0, |(_, go)| *go),
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special
        .iter()
        .filter(|(unix, _)| mode & unix != 0)
        .map(|(_, go)| go);
    kind | (mode & 0o777) | special.sum::<u32>()
}

pub(super) async fn stat(State(api): State<Api>, Name(name): Name, uri: Uri) -> Result<Response> {
    let stat = stat_of(&api, name, path(&uri)?).await?;
    Ok(([(STAT, stat)], StatusCode::OK).into_response())
}

pub(super) async fn copy_out(
    State(api): State<Api>,
    Name(container): Name,
    uri: Uri,
) -> Result<Response> {
    let path = path(&uri)?;
    let stat = stat_of(&api, container.clone(), path.clone()).await?;
    let purpose = Purpose::CopyOut(CopyOutStream {
        container,
        path,
        ..CopyOutStream::default()
    });
    let mut response = tar(&api, purpose).await?;
    let stat = stat.parse().map_err(ApiError::internal)?;
    response.headers_mut().insert(STAT, stat);
    Ok(response)
}

pub(super) async fn export(State(api): State<Api>, Name(container): Name) -> Result<Response> {
    let mut response = tar(&api, Purpose::Export(ExportStream { container })).await?;
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Answers with what the guest packs. Where it fails on the way, the answer breaks
/// off.
pub(in crate::api) async fn tar(api: &Api, purpose: Purpose) -> Result<Response> {
    let mut stream = api.open(purpose).await?;
    let _ = stream.writer.end().await;
    // A refusal that comes behind the opening is still an answer with a status.
    let first = match stream.reader.next().await? {
        Some(frame) => frame.payload,
        None => Bytes::new(),
    };
    let whole = streams::once(async move { Ok(first) }).chain(data(stream.reader));
    Response::builder()
        .header(header::CONTENT_TYPE, TAR)
        .body(Body::from_stream(whole))
        .map_err(ApiError::internal)
}

fn data(reader: BulkReader) -> impl Stream<Item = std::result::Result<Bytes, StreamError>> + Send {
    streams::try_unfold(reader, |mut reader| async move {
        while let Some(frame) = reader.next().await? {
            if frame.kind == Kind::Data {
                return Ok(Some((frame.payload, reader)));
            }
        }
        Ok(None)
    })
}

pub(super) async fn copy_in(
    State(api): State<Api>,
    Name(container): Name,
    uri: Uri,
    body: Body,
) -> Result<StatusCode> {
    let path = path(&uri)?;
    let query = Query::of(&uri);
    let purpose = Purpose::CopyIn(CopyInStream {
        container,
        path,
        overwrite: !query.flag("noOverwriteDirNonDir"),
        users_own: query.flag("copyUIDGID"),
    });
    let mut stream = api.open(purpose).await?;
    send(&mut stream.writer, body).await?;
    while stream.reader.next().await?.is_some() {}
    Ok(StatusCode::OK)
}

/// Sends a request's body to the guest. A client that goes in the middle leaves
/// the stream without its end, which the guest takes for cut off.
pub(in crate::api) async fn send(writer: &mut wherry_client::BulkWriter, body: Body) -> Result<()> {
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::bad_request(format!("the request's body is cut off: {error}"))
        })?;
        if writer.send(&chunk).await.is_err() {
            // What the guest has against it, it says in its answer.
            return Ok(());
        }
    }
    let _ = writer.end().await;
    Ok(())
}

pub(super) async fn commit(State(api): State<Api>, uri: Uri, body: Body) -> Result<Response> {
    let given: ContainerConfig = body::json(body).await?;
    let query = Query::of(&uri);
    let name = match (query.text("repo"), query.text("tag")) {
        (repo, "") => repo.to_owned(),
        (repo, tag) => format!("{repo}:{tag}"),
    };
    let request = CommitRequest {
        container: query.text("container").to_owned(),
        name,
        author: query.text("author").to_owned(),
        message: query.text("comment").to_owned(),
        changes: query.lines("changes"),
        no_pause: !query.flag_or("pause", true),
        config: Some(image_config(given)?),
    };
    let mut containers = api.containers().await?;
    let image = containers.commit(request).await?.into_inner();
    Ok((StatusCode::CREATED, Json(json!({"Id": image.id}))).into_response())
}

/// Returns what of a container's configuration an image has too.
fn image_config(config: ContainerConfig) -> Result<ImageConfig> {
    Ok(ImageConfig {
        user: config.user.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
        labels: config.labels.unwrap_or_default(),
        exposed_ports: config.exposed_ports.unwrap_or_default(),
        volumes: config.volumes.unwrap_or_default(),
        stop_signal: config.stop_signal.unwrap_or_default(),
        health_check: config
            .healthcheck
            .map(super::create::health_check)
            .transpose()?,
    })
}

#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_commit(text: &[u8]) {
    let _ = body::parse::<ContainerConfig>(text).map(image_config);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), 0o20_000_000_755);
        assert_eq!(go_mode(0o120_777), 0o1_000_000_777);
        assert_eq!(go_mode(0o104_755), 0o40_000_755);
    }
}
