//! What images there are, what each is, and their names.

use axum::Json;
use axum::extract::State;
use http::request::Parts;
use http::{StatusCode, Uri};
use serde_json::{Value, json};
use wherry_docker::reference::{familiar, split_tag};
use wherry_docker::{image as shape, pattern};
use wherry_proto::v1::{
    DiskUsageRequest, Image, ImageHistoryRequest, InspectImageRequest, ListContainersRequest,
    ListImagesRequest, PruneImagesRequest, RemoveImageRequest, SearchImagesRequest,
    TagImageRequest,
};

use super::{access, platform};
use crate::api::error::{ApiError, Result};
use crate::api::path::Name;
use crate::api::query::{Filters, Query};
use crate::api::version::ApiVersion;
use crate::api::{Api, history};

/// What `docker search` shows where no number is asked for.
const SEARCH: u32 = 25;

pub(super) async fn list(State(api): State<Api>, parts: Parts) -> Result<Json<Value>> {
    let version = ApiVersion::of(&parts);
    let query = Query::of(&parts.uri);
    let mut filters = query.filters()?;
    if version < ApiVersion::minor(41) && !query.text("filter").is_empty() {
        filters.add("reference", query.text("filter"));
    }
    filters.only(&[
        "before",
        "dangling",
        "label",
        "label!",
        "reference",
        "since",
        "until",
    ])?;
    filters.flag("dangling")?;
    let mut listed = api
        .images()
        .await?
        .list(ListImagesRequest {})
        .await?
        .into_inner()
        .images;
    let bounds = Bounds::of(&api, &filters).await?;
    listed.retain(|image| bounds.hold(image) && fits(image, &filters));
    listed.sort_by_key(|image| std::cmp::Reverse(created_ns(image)));
    let shared = query.flag("shared-size");
    let usage = match shared {
        true => {
            api.system()
                .await?
                .disk_usage(DiskUsageRequest {})
                .await?
                .into_inner()
                .images
        }
        false => Vec::new(),
    };
    // The images that containers were made of, each as often.
    let containers: Vec<String> = if version >= ApiVersion::minor(51) {
        let request = ListContainersRequest { all: true };
        let listed = api.containers().await?.list(request).await?.into_inner();
        listed
            .containers
            .into_iter()
            .map(|one| one.image_id)
            .collect()
    } else {
        Vec::new()
    };
    let patterns = filters.values("reference");
    let rows = listed.iter_mut().filter_map(|image| {
        if !patterns.is_empty() {
            let is_wanted = |tag: &String| patterns.iter().any(|pattern| is_like(tag, pattern));
            image.tags.retain(is_wanted);
            image.digests.retain(|digest| {
                let name = digest.split('@').next().unwrap_or(digest);
                patterns.iter().any(|pattern| is_like(name, pattern))
            });
            if image.tags.is_empty() {
                return None;
            }
        }
        let mut row = shape::summary(image);
        let of_this = |usage: &&wherry_proto::v1::ImageUsage| {
            usage
                .image
                .as_ref()
                .is_some_and(|other| other.id == image.id)
        };
        if let Some(usage) = usage.iter().find(of_this) {
            row["SharedSize"] = image.size.saturating_sub(usage.unique).into();
        }
        let of_this = containers.iter().filter(|of| *of == &image.id).count();
        history::image_row(&mut row, of_this, version);
        Some(row)
    });
    Ok(Json(rows.collect()))
}

/// The moments that `before`, `since` and `until` name, nanoseconds since 1970.
struct Bounds {
    before: Option<i128>,
    since: Option<i128>,
}

impl Bounds {
    async fn of(api: &Api, filters: &Filters) -> Result<Self> {
        let mut moments = [None, None];
        for (moment, key) in moments.iter_mut().zip(["before", "since"]) {
            if let Some(name) = filters.values(key).first() {
                *moment = Some(created_ns(&find(api, name.clone()).await?));
            }
        }
        let [mut before, since] = moments;
        if let until @ 1.. = filters.until_ns()? {
            let until = i128::from(until);
            before = Some(before.map_or(until, |before: i128| before.min(until)));
        }
        Ok(Self { before, since })
    }

    fn hold(&self, image: &Image) -> bool {
        let created = created_ns(image);
        self.before.is_none_or(|time| created < time)
            && self.since.is_none_or(|time| created > time)
    }
}

fn created_ns(image: &Image) -> i128 {
    let created = image.created.unwrap_or_default();
    i128::from(created.seconds) * 1_000_000_000 + i128::from(created.nanos)
}

fn fits(image: &Image, filters: &Filters) -> bool {
    let labels = image.config.as_ref().map(|config| &config.labels);
    filters.matches_labels(|key| labels.and_then(|labels| labels.get(key)))
        && filters.any("dangling", |flag| is_true(flag) == image.tags.is_empty())
}

fn is_true(flag: &str) -> bool {
    matches!(flag, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Tells whether a name fits a pattern of Docker's `reference` filter: the short or
/// the full name, with its tag or without.
fn is_like(tag: &str, pattern: &str) -> bool {
    [tag, familiar(tag)].into_iter().any(|name| {
        let (repository, _) = split_tag(name);
        pattern::matches(pattern, name) || pattern::matches(pattern, repository)
    })
}

pub(super) async fn find(api: &Api, name: String) -> Result<Image> {
    Ok(api
        .images()
        .await?
        .inspect(InspectImageRequest { name })
        .await?
        .into_inner())
}

pub(super) async fn inspect(api: Api, name: String, parts: &Parts) -> Result<Json<Value>> {
    let version = ApiVersion::of(parts);
    let query = Query::of(&parts.uri);
    if query.flag("manifests") && !query.text("platform").is_empty() {
        return Err(ApiError::bad_request(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    let image = find(&api, name.clone()).await?;
    if version >= ApiVersion::minor(49) {
        platform::check(&image, &name, query.text("platform"))?;
    }
    let mut value = shape::inspect(&image);
    history::image(&mut value, version);
    Ok(Json(value))
}

pub(super) async fn steps(api: Api, name: String, parts: &Parts) -> Result<Json<Value>> {
    platform::of_request(&api, &name, parts, ApiVersion::minor(48)).await?;
    let request = ImageHistoryRequest { name };
    let steps = api
        .images()
        .await?
        .history(request)
        .await?
        .into_inner()
        .steps;
    let step = |step: &wherry_proto::v1::image_history_response::Step| {
        let tags: Vec<&str> = step.tags.iter().map(|tag| familiar(tag)).collect();
        json!({
            "Id": if step.id.is_empty() { "<missing>" } else { &step.id },
            "Created": step.created.as_ref().map_or(0, |time| time.seconds),
            "CreatedBy": step.created_by,
            "Tags": if tags.is_empty() { Value::Null } else { json!(tags) },
            "Size": step.size,
            "Comment": step.comment,
        })
    };
    Ok(Json(steps.iter().map(step).collect()))
}

pub(super) async fn tag(api: Api, image: &str, uri: &Uri) -> Result<StatusCode> {
    let query = Query::of(uri);
    let name = match (query.text("repo"), query.text("tag")) {
        (repository, "") => repository.to_owned(),
        // A tag of its own counts before one that the name has.
        (repository, tag) => format!("{}:{tag}", split_tag(repository).0),
    };
    let request = TagImageRequest {
        image: image.to_owned(),
        name,
    };
    api.images().await?.tag(request).await?;
    Ok(StatusCode::CREATED)
}

pub(super) async fn remove(
    State(api): State<Api>,
    Name(name): Name,
    uri: Uri,
) -> Result<Json<Value>> {
    let request = RemoveImageRequest {
        name,
        force: Query::of(&uri).flag("force"),
    };
    let removed = api.images().await?.remove(request).await?.into_inner();
    Ok(Json(deletions(&removed.untagged, &removed.deleted)))
}

fn deletions(untagged: &[String], deleted: &[String]) -> Value {
    let untagged = untagged
        .iter()
        .map(|name| json!({"Untagged": familiar(name)}));
    let deleted = deleted.iter().map(|id| json!({"Deleted": id}));
    untagged.chain(deleted).collect()
}

pub(super) async fn prune(State(api): State<Api>, uri: Uri) -> Result<Json<Value>> {
    let filters = Query::of(&uri).filters()?;
    filters.only(&["dangling", "label", "label!", "until"])?;
    let request = PruneImagesRequest {
        all: filters.flag("dangling")? == Some(false),
        labels: filters.values("label").to_vec(),
        without_labels: filters.values("label!").to_vec(),
        until_ns: filters.until_ns()?,
    };
    let pruned = api.images().await?.prune(request).await?.into_inner();
    let deletions = match deletions(&pruned.untagged, &pruned.deleted) {
        Value::Array(list) if list.is_empty() => Value::Null,
        list => list,
    };
    Ok(Json(
        json!({"ImagesDeleted": deletions, "SpaceReclaimed": pruned.reclaimed}),
    ))
}

pub(super) async fn search(State(api): State<Api>, parts: Parts) -> Result<Json<Value>> {
    let query = Query::of(&parts.uri);
    let filters = query.filters()?;
    filters.only(&["is-automated", "is-official", "stars"])?;
    let limit = match query.number::<i64>("limit")? {
        None | Some(0) => SEARCH,
        Some(limit) => u32::try_from(limit)
            .ok()
            .filter(|limit| *limit <= 100)
            .ok_or_else(|| {
                ApiError::bad_request(format!("limit {limit} is outside the range of [1, 100]"))
            })?,
    };
    let term = query.text("term").to_owned();
    let request = SearchImagesRequest {
        access: Some(access::of_image(&api, &term, &parts.headers)?),
        term,
        limit,
    };
    let found = api
        .images()
        .await?
        .search(request)
        .await?
        .into_inner()
        .found;
    let stars = filters
        .values("stars")
        .iter()
        .filter_map(|stars| stars.parse::<u64>().ok())
        .max();
    let rows = found
        .iter()
        .filter(|found| stars.is_none_or(|stars| found.stars >= stars))
        .filter(|found| filters.any("is-official", |flag| is_true(flag) == found.official))
        .filter(|found| filters.any("is-automated", |flag| is_true(flag) == found.automated))
        .map(|found| {
            json!({
                "name": found.name,
                "description": found.description,
                "star_count": found.stars,
                "is_official": found.official,
                "is_automated": found.automated,
            })
        });
    Ok(Json(rows.collect()))
}
