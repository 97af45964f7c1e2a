//! Images in archives: load, save and import.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, stream as streams};
use http::Uri;
use prost::Message;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;
use wherry_client::{BulkReader, BulkStream};
use wherry_docker::reference::familiar;
use wherry_proto::frame::Kind;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{ImportStream, LoadResult, LoadStream, Progress, SaveStream};

use super::transfer::progress;
use crate::api::Api;
use crate::api::containers::{json_stream, line, send, tar};
use crate::api::error::{ApiError, Result};
use crate::api::query::Query;

/// `GET /images/get`, with a name or several.
pub(super) async fn save_several(State(api): State<Api>, uri: Uri) -> Result<Response> {
    let names = Query::of(&uri).all("names");
    let names: Vec<String> = names
        .iter()
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        return Err(ApiError::bad_request("no images are named: give names"));
    }
    save(&api, names).await
}

pub(super) async fn save(api: &Api, images: Vec<String>) -> Result<Response> {
    tar(api, Purpose::Save(SaveStream { images })).await
}

/// `POST /images/load`: an archive in the body.
pub(super) async fn load(State(api): State<Api>, uri: Uri, body: Body) -> Result<Response> {
    let quiet = Query::of(&uri).flag("quiet");
    let stream = api.open(Purpose::Load(LoadStream {})).await?;
    unpacked(stream, body, quiet, |result| {
        let lines = result.images.iter().flat_map(|image| {
            let names: Vec<String> = match image.tags.is_empty() {
                true => vec![format!("Loaded image ID: {}\n", image.id)],
                false => image
                    .tags
                    .iter()
                    .map(|tag| format!("Loaded image: {}\n", familiar(tag)))
                    .collect(),
            };
            names.into_iter().map(|text| line(&json!({"stream": text})))
        });
        lines.collect()
    })
    .await
}

/// `POST /images/create?fromSrc=-`: a root file system in the body.
pub(super) async fn import(api: &Api, query: &Query, body: Body) -> Result<Response> {
    let tag = match (query.text("repo"), query.text("tag")) {
        ("", _) => String::new(),
        (repository, "") => repository.to_owned(),
        (repository, tag) => format!("{repository}:{tag}"),
    };
    let stream = api
        .open(Purpose::Import(ImportStream {
            tag,
            changes: query.lines("changes"),
            message: query.text("message").to_owned(),
        }))
        .await?;
    unpacked(stream, body, true, |result| {
        let status = |image: &wherry_proto::v1::Image| line(&json!({"status": image.id}));
        result.images.iter().map(status).collect()
    })
    .await
}

/// What is told while an archive is unpacked: the guest's progress, then what came
/// of it.
struct Unpacking {
    reader: BulkReader,
    quiet: bool,
    result: fn(&LoadResult) -> Vec<Bytes>,
    /// Ends with the answer: where the client goes, so does the archive.
    _sending: AbortOnDropHandle<Result<()>>,
}

impl Unpacking {
    /// Returns the next lines; `None` in the end.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        while let Some(frame) = self.reader.next().await? {
            match frame.kind {
                Kind::Progress if !self.quiet => {
                    let told = Progress::decode(frame.payload).map_err(ApiError::internal)?;
                    if let Some(value) = loading(&told) {
                        return Ok(Some(vec![line(&value)]));
                    }
                }
                Kind::Result => {
                    let result = LoadResult::decode(frame.payload).map_err(ApiError::internal)?;
                    return Ok(Some((self.result)(&result)));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Only layers are told, for a file's name is no layer's id.
fn loading(told: &Progress) -> Option<Value> {
    (told.stage == "unpacking")
        .then(|| progress("Loading layer", &told.subject, told.current, told.total))
}

async fn unpacked(
    stream: BulkStream,
    body: Body,
    quiet: bool,
    result: fn(&LoadResult) -> Vec<Bytes>,
) -> Result<Response> {
    let BulkStream { reader, mut writer } = stream;
    let sending = tokio::spawn(async move { send(&mut writer, body).await });
    let mut unpacking = Unpacking {
        reader,
        quiet,
        result,
        _sending: AbortOnDropHandle::new(sending),
    };
    // What fails before anything is told is an answer with a status.
    let first = unpacking.next().await?;
    json_stream(lines(unpacking, first))
}

fn lines(unpacking: Unpacking, first: Option<Vec<Bytes>>) -> impl Stream<Item = Bytes> + Send {
    streams::unfold(
        (Some(unpacking), Some(first)),
        |(unpacking, first)| async move {
            let mut unpacking = unpacking?;
            let next = match first {
                Some(first) => Ok(first),
                None => unpacking.next().await,
            };
            match next {
                Ok(lines) => Some((Bytes::from(lines?.concat()), (Some(unpacking), None))),
                Err(error) => Some((error.line(), (None, None))),
            }
        },
    )
}
