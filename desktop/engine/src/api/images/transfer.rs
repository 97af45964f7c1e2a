//! Pulls and pushes, told as Docker's engine tells them.

use std::collections::{HashMap, VecDeque};

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream as streams;
use http::HeaderMap;
use http::request::Parts;
use serde_json::{Value, json};
use tonic::Streaming;
use wherry_docker::reference::{familiar, normalised, split_tag};
use wherry_proto::v1::layer_progress::Stage;
use wherry_proto::v1::transfer_event::Event;
use wherry_proto::v1::{
    LayerProgress, ListImagesRequest, ListTagsRequest, PullImageRequest, PushImageRequest,
    TransferEvent, TransferResult,
};

use super::access;
use crate::api::Api;
use crate::api::containers::{json_stream, line};
use crate::api::error::{ApiError, Result};
use crate::api::query::Query;

/// How many characters a bar of progress has between its brackets.
const BAR: usize = 50;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Pull,
    Push,
}

/// A transfer of one image or several, one after another.
struct Transfer {
    api: Api,
    headers: HeaderMap,
    direction: Direction,
    platform: String,
    names: VecDeque<String>,
    under_way: Option<(String, Streaming<TransferEvent>)>,
    /// What was said last of each layer, so that nothing is said twice.
    stages: HashMap<String, Stage>,
}

pub(super) async fn pull(api: Api, query: &Query, headers: &HeaderMap) -> Result<Response> {
    let name = query.text("fromImage");
    let last = name.rsplit('/').next().unwrap_or(name);
    let names = match query.text("tag") {
        "" if last.contains([':', '@']) => vec![name.to_owned()],
        // No tag is every tag.
        "" => {
            let request = ListTagsRequest {
                name: name.to_owned(),
                access: Some(access::of_image(&api, name, headers)?),
            };
            api.images().await?.tags(request).await?.into_inner().names
        }
        digest if digest.contains(':') => vec![format!("{name}@{digest}")],
        tag => vec![format!("{}:{tag}", without_tag(name))],
    };
    let transfer = Transfer {
        api,
        headers: headers.clone(),
        direction: Direction::Pull,
        platform: platform(query.text("platform")),
        names: names.into(),
        under_way: None,
        stages: HashMap::new(),
    };
    transfer.answer(Vec::new()).await
}

fn without_tag(name: &str) -> &str {
    split_tag(name.split('@').next().unwrap_or(name)).0
}

/// Since 1.48 clients may send a platform as OCI has it in JSON.
fn platform(text: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    let parts = ["os", "architecture", "variant"]
        .iter()
        .filter_map(|key| fields.get(*key)?.as_str());
    parts
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

pub(super) async fn push(api: Api, name: &str, parts: &Parts) -> Result<Response> {
    let query = Query::of(&parts.uri);
    let repository = normalised(name);
    let (repository, _) = split_tag(&repository);
    let last = name.rsplit('/').next().unwrap_or(name);
    let names = match query.text("tag") {
        "" if last.contains(':') => vec![name.to_owned()],
        "" => tags_here(&api, repository).await?,
        tag => vec![format!("{repository}:{tag}")],
    };
    if names.is_empty() {
        return Err(ApiError::new(
            http::StatusCode::NOT_FOUND,
            format!(
                "An image does not exist locally with the tag: {}",
                familiar(repository)
            ),
        ));
    }
    let opening = format!("The push refers to repository [{repository}]");
    let transfer = Transfer {
        api,
        headers: parts.headers.clone(),
        direction: Direction::Push,
        platform: String::new(),
        names: names.into(),
        under_way: None,
        stages: HashMap::new(),
    };
    transfer.answer(vec![json!({"status": opening})]).await
}

/// Returns the names that images here have in a repository.
async fn tags_here(api: &Api, repository: &str) -> Result<Vec<String>> {
    let images = api
        .images()
        .await?
        .list(ListImagesRequest {})
        .await?
        .into_inner()
        .images;
    let tags = images.into_iter().flat_map(|image| image.tags);
    Ok(tags.filter(|tag| split_tag(tag).0 == repository).collect())
}

impl Transfer {
    /// Answers once there is something to tell: what fails before is an answer with
    /// a status, and what fails later stands in the stream.
    async fn answer(mut self, mut opening: Vec<Value>) -> Result<Response> {
        match self.next().await? {
            Some(values) => opening.extend(values),
            None => return Err(ApiError::internal("there is nothing to transfer")),
        }
        json_stream(streams::unfold(
            (Some(self), opening),
            |(transfer, ready)| async move {
                if !ready.is_empty() {
                    return Some((lines(&ready), (transfer, Vec::new())));
                }
                let mut transfer = transfer?;
                match transfer.next().await {
                    Ok(Some(values)) => Some((lines(&values), (Some(transfer), Vec::new()))),
                    Ok(None) => None,
                    Err(error) => Some((error.line(), (None, Vec::new()))),
                }
            },
        ))
    }

    /// Returns what there is to tell next; `None` in the end.
    async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        loop {
            let Some((name, events)) = &mut self.under_way else {
                let Some(name) = self.names.pop_front() else {
                    return Ok(None);
                };
                let events = self.begin(&name).await?;
                self.under_way = Some((name, events));
                continue;
            };
            let Some(event) = events.message().await? else {
                self.under_way = None;
                continue;
            };
            let name = name.clone();
            let told = self.tell(&name, event);
            if !told.is_empty() {
                return Ok(Some(told));
            }
        }
    }

    async fn begin(&self, name: &str) -> Result<Streaming<TransferEvent>> {
        let access = Some(access::of_image(&self.api, name, &self.headers)?);
        let (name, platform) = (name.to_owned(), self.platform.clone());
        let mut images = self.api.images().await?;
        let answer = match self.direction {
            Direction::Pull => {
                images
                    .pull(PullImageRequest {
                        name,
                        platform,
                        access,
                    })
                    .await?
            }
            Direction::Push => images.push(PushImageRequest { name, access }).await?,
        };
        Ok(answer.into_inner())
    }

    fn tell(&mut self, name: &str, event: TransferEvent) -> Vec<Value> {
        match event.event {
            Some(Event::Layer(layer)) => {
                let opening = self.opening(name);
                opening.into_iter().chain(self.layer(&layer)).collect()
            }
            Some(Event::Message(message)) => vec![json!({"status": message})],
            Some(Event::Result(result)) => {
                let opening = self.opening(name);
                opening.into_iter().chain(self.result(&result)).collect()
            }
            None => Vec::new(),
        }
    }

    /// The first line of a pull, once for each image.
    fn opening(&mut self, name: &str) -> Option<Value> {
        let first = self
            .stages
            .insert(name.to_owned(), Stage::Unspecified)
            .is_none();
        (first && self.direction == Direction::Pull).then(|| {
            let full = normalised(name);
            let (repository, subject) = match name.split_once('@') {
                Some((repository, _)) => (normalised(repository), name.to_owned()),
                None => (full.clone(), split_tag(&full).1.to_owned()),
            };
            let path = split_tag(&repository).0;
            let path = path.split_once('/').map_or(path, |(_, path)| path);
            json!({"status": format!("Pulling from {path}"), "id": subject})
        })
    }

    fn layer(&mut self, layer: &LayerProgress) -> Option<Value> {
        let stage = layer.stage();
        let before = self.stages.insert(layer.id.clone(), stage);
        let words = words(stage, self.direction);
        if matches!(stage, Stage::Downloading | Stage::Pushing) {
            return Some(progress(words, &layer.id, layer.current, layer.total));
        }
        (before != Some(stage))
            .then(|| json!({"status": words, "progressDetail": {}, "id": layer.id}))
    }

    fn result(&self, result: &TransferResult) -> Vec<Value> {
        if self.direction == Direction::Push {
            let tag = split_tag(&result.name).1;
            let text = format!("{tag}: digest: {} size: {}", result.digest, result.size);
            let aux = json!({"Tag": tag, "Digest": result.digest, "Size": result.size});
            return vec![
                json!({"status": text}),
                json!({"progressDetail": {}, "aux": aux}),
            ];
        }
        let status = match result.up_to_date {
            true => "Image is up to date",
            false => "Downloaded newer image",
        };
        let status = format!("Status: {status} for {}", familiar(&result.name));
        vec![
            json!({"status": format!("Digest: {}", result.digest)}),
            json!({"status": status}),
        ]
    }
}

/// Docker's words for what a layer is at.
fn words(stage: Stage, direction: Direction) -> &'static str {
    match (stage, direction) {
        (Stage::Unspecified | Stage::Waiting, Direction::Pull) => "Pulling fs layer",
        (Stage::Unspecified | Stage::Waiting, Direction::Push) => "Waiting",
        (Stage::Downloading, _) => "Downloading",
        (Stage::Extracting, _) => "Extracting",
        (Stage::Pulled, _) => "Pull complete",
        (Stage::AlreadyExists, Direction::Pull) => "Already exists",
        (Stage::AlreadyExists, Direction::Push) => "Layer already exists",
        (Stage::Preparing, _) => "Preparing",
        (Stage::Pushing, _) => "Pushing",
        (Stage::Pushed, _) => "Pushed",
        (Stage::Mounted, _) => "Mounted from another repository",
        (Stage::Retrying, _) => "Retrying",
    }
}

fn lines(values: &[Value]) -> Bytes {
    values.iter().map(line).collect::<Vec<_>>().concat().into()
}

/// Returns how far something is, for programs and with a bar for people.
pub(super) fn progress(status: &str, id: &str, current: u64, total: u64) -> Value {
    let mut detail = json!({"current": current});
    let mut text = wherry_client::size::decimal(current);
    if total > 0 {
        detail["total"] = total.into();
        let part = u128::from(current.min(total)) * BAR as u128 / u128::from(total);
        let done = usize::try_from(part).unwrap_or(BAR);
        let arrow = if done < BAR { ">" } else { "" };
        let space = BAR - done - arrow.len();
        let total = wherry_client::size::decimal(total);
        text = format!(
            "[{}{arrow}{}]  {text}/{total}",
            "=".repeat(done),
            " ".repeat(space)
        );
    }
    json!({"status": status, "progressDetail": detail, "progress": text, "id": id})
}

#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(text: &str) {
    let _ = (platform(text), without_tag(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_how_far_a_layer_is() {
        let half = progress("Downloading", "abc", 500, 1000);
        assert_eq!(
            half["progressDetail"],
            json!({"current": 500, "total": 1000})
        );
        let bar = format!("[{}>{}]  500B/1kB", "=".repeat(25), " ".repeat(24));
        assert_eq!(half["progress"], bar);
        let whole = progress("Downloading", "abc", 2000, 1000);
        assert!(
            whole["progress"]
                .as_str()
                .unwrap()
                .starts_with(&format!("[{}]", "=".repeat(50)))
        );
        assert_eq!(progress("x", "abc", 5, 0)["progress"], "5B");
    }

    #[test]
    fn platforms_are_read_in_both_forms() {
        assert_eq!(platform("linux/arm64"), "linux/arm64");
        assert_eq!(
            platform(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#),
            "linux/arm64/v8"
        );
    }
}
