//! Searching a registry: the first version's API, which Docker's hub and few
//! others still have.

use reqwest::{Method, StatusCode};
use wherry_proto::v1::SearchImagesResponse;
use wherry_proto::v1::search_images_response::Found;

use super::session::{Scope, Session};
use super::{Access, Error};

/// Where the hub searches: not where it keeps its images.
const HUB: &str = "index.docker.io";
/// The largest answer that is read, bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// As in Docker.
const MOST: u32 = 100;

#[derive(serde::Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    star_count: u64,
    #[serde(default)]
    is_official: bool,
    #[serde(default)]
    is_automated: bool,
}

/// Asks for images by a word: `TERM`, or `REGISTRY/TERM`.
pub(crate) async fn search(
    access: &Access,
    term: &str,
    limit: u32,
) -> Result<SearchImagesResponse, Error> {
    if term.is_empty() {
        return Err(Error::Invalid(
            "a search needs a word to search for".to_owned(),
        ));
    }
    if limit > MOST {
        return Err(Error::Invalid(format!(
            "limit {limit} is outside the range of [1, {MOST}]"
        )));
    }
    let (domain, word) = match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", term),
    };
    let mut endpoint = access.endpoint(domain)?;
    if domain == "docker.io" {
        for base in &mut endpoint.bases {
            // Fails for addresses alone, and this one has a name.
            let _ = base.set_host(Some(HUB));
        }
    }
    let scope = Scope {
        repository: String::new(),
        actions: "pull",
        sources: Vec::new(),
    };
    let limit = if limit == 0 { 25 } else { limit };
    let mut last = None;
    for base in &endpoint.bases {
        let session = Session::at(access, &endpoint, base, &scope)?;
        match ask(&session, domain, word, limit).await {
            Err(error @ Error::Unreachable { .. }) => last = Some(error),
            end => return end,
        }
    }
    Err(last.unwrap_or_else(|| Error::Internal("a registry without an address".to_owned())))
}

async fn ask(
    session: &Session,
    domain: &str,
    word: &str,
    limit: u32,
) -> Result<SearchImagesResponse, Error> {
    let mut request = session.request(Method::GET, "v1/search")?;
    request
        .url
        .query_pairs_mut()
        .append_pair("q", word)
        .append_pair("n", &limit.to_string());
    let response = session.send(&request).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            return Err(Error::NotFound {
                registry: domain.to_owned(),
                what: "a search".to_owned(),
                hint: ": name the image in full to pull it",
            });
        }
        _ => return Err(session.refusal(&request, response).await),
    }
    let bytes = session.body(response, MAX_ANSWER, "its answer").await?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|error| session.dishonest(&format!("its answer cannot be read: {error}")))?;
    let results = answer.results.into_iter().take(MOST as usize);
    let found = results.map(|entry| Found {
        name: entry.name,
        description: entry.description.unwrap_or_default(),
        stars: entry.star_count,
        official: entry.is_official,
        automated: entry.is_automated,
    });
    Ok(SearchImagesResponse {
        found: found.collect(),
    })
}
