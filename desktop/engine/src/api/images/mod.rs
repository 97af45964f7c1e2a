//! Images: what there is, their names, and their way from and to registries and
//! archives.

mod access;
mod archive;
mod distribution;
mod list;
mod platform;
mod transfer;

pub(super) use access::login;
pub(super) use platform::of_image as check_platform;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::request::Parts;

use super::Api;
use super::error::{ApiError, Result};
use super::path::Name;
use super::unknown;
use super::version::ApiVersion;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/images/json", get(list::list))
        .route("/images/create", post(create))
        .route("/images/load", post(archive::load))
        .route("/images/get", get(archive::save_several))
        .route("/images/prune", post(list::prune))
        .route("/images/search", get(list::search))
        .route(
            "/images/{*rest}",
            get(read).post(write).delete(list::remove),
        )
        .route("/distribution/{*rest}", get(distribution::inspect))
}

#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_headers(text: &[u8]) {
    access::fuzz(text);
    if let Ok(text) = std::str::from_utf8(text) {
        transfer::fuzz(text);
        platform::fuzz(text);
    }
}

/// Splits `NAME/VERB`, for names have slashes of their own.
fn verb(rest: &str) -> (&str, &str) {
    rest.rsplit_once('/').unwrap_or((rest, ""))
}

async fn read(State(api): State<Api>, Name(rest): Name, parts: Parts) -> Result<Response> {
    let name = |name: &str| name.to_owned();
    match verb(&rest) {
        (image, "json") => Ok(list::inspect(api, name(image), &parts)
            .await?
            .into_response()),
        (image, "history") => Ok(list::steps(api, name(image), &parts).await?.into_response()),
        (image, "get") => {
            platform::of_request(&api, image, &parts, ApiVersion::minor(48)).await?;
            archive::save(&api, vec![name(image)]).await
        }
        _ => Err(unknown().await),
    }
}

async fn write(State(api): State<Api>, Name(rest): Name, parts: Parts) -> Result<Response> {
    match verb(&rest) {
        (image, "push") => {
            platform::of_request(&api, image, &parts, ApiVersion::minor(46)).await?;
            transfer::push(api, image, &parts).await
        }
        (image, "tag") => list::tag(api, image, &parts.uri)
            .await
            .map(IntoResponse::into_response),
        _ => Err(unknown().await),
    }
}

/// `POST /images/create`: a pull, or the import of an archive in the body.
async fn create(State(api): State<Api>, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let query = super::query::Query::of(&parts.uri);
    match (query.text("fromImage"), query.text("fromSrc")) {
        ("", "") => Err(ApiError::bad_request(
            "neither fromImage nor fromSrc is given",
        )),
        ("", "-") => archive::import(&api, &query, body).await,
        ("", _) => Err(ApiError::not_implemented(
            "Wherry imports no archive from an address: fetch it and send it as the request's body, with fromSrc=-",
        )),
        _ => transfer::pull(api, &query, &parts.headers).await,
    }
}
