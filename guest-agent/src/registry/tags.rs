//! Which tags a repository has (distribution-spec, "Listing Tags").

use reqwest::{Method, Response, StatusCode};

use super::access::Endpoint;
use super::session::{Scope, Session};
use super::{Access, Error};
use crate::image::Reference;

/// The largest page that is read, bytes.
const MAX_PAGE: usize = 4 * 1024 * 1024;
/// The most tags, of all pages. Docker has no limit.
const MAX_TAGS: usize = 100_000;
/// Pages without a tag would go on for ever.
const MAX_PAGES: usize = 1000;

#[derive(serde::Deserialize)]
struct Page {
    // `null` where there are none.
    tags: Option<Vec<String>>,
}

/// Returns the names of all images of a repository, with their tags. `name` is
/// without one.
///
/// # Errors
///
/// [`Error::Invalid`] for a name with a tag or digest, [`Error::NotFound`] where
/// there is no such repository or it has no tags, those of the registry.
pub(crate) async fn tags(access: &Access, name: &str) -> Result<Vec<String>, Error> {
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) {
        return Err(Error::Invalid(
            "tag can't be used with --all-tags/-a".to_owned(),
        ));
    }
    let reference: Reference = name.parse().map_err(Error::Image)?;
    let endpoint = access.endpoint(reference.domain())?;
    let tags = list(access, &endpoint, &reference).await?;
    let full = |tag: String| format!("{}/{}:{tag}", reference.domain(), reference.path());
    // What is no tag is none that could be pulled.
    let names = tags.into_iter().map(full);
    let names: Vec<_> = names
        .filter(|name| name.parse::<Reference>().is_ok())
        .collect();
    if names.is_empty() {
        return Err(missing(&endpoint, &reference));
    }
    Ok(names)
}

async fn list(
    access: &Access,
    endpoint: &Endpoint,
    reference: &Reference,
) -> Result<Vec<String>, Error> {
    let scope = Scope {
        repository: reference.path().to_owned(),
        actions: "pull",
        sources: Vec::new(),
    };
    let session = Session::open(access, endpoint, scope).await?;
    let path = format!("v2/{}/tags/list", reference.path());
    let mut request = session.request(Method::GET, &path)?;
    let mut tags = Vec::new();
    for _ in 0..MAX_PAGES {
        let response = session.send(&request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(missing(endpoint, reference)),
            _ => return Err(session.refusal(&request, response).await),
        }
        let next = next_query(&response);
        let bytes = session.body(response, MAX_PAGE, "its list of tags").await?;
        let page: Page = serde_json::from_slice(&bytes).map_err(|error| {
            session.dishonest(&format!("its list of tags cannot be read: {error}"))
        })?;
        tags.extend(page.tags.unwrap_or_default());
        if tags.len() > MAX_TAGS {
            break;
        }
        match next {
            None => return Ok(tags),
            // The same page again.
            Some(next) if request.url.query() == Some(&next) => break,
            Some(next) => request.url.set_query(Some(&next)),
        }
    }
    Err(session.dishonest(&format!(
        "its list of tags has no end: more than {MAX_TAGS}, or {MAX_PAGES} pages"
    )))
}

/// Reads what to ask for the next page with. Of the address only the question is
/// taken: the registry does not send us elsewhere this way.
fn next_query(response: &Response) -> Option<String> {
    let link = response.headers().get("link")?.to_str().ok()?;
    let (target, attributes) = link.strip_prefix('<')?.split_once('>')?;
    if !attributes.contains("next") {
        return None;
    }
    let (_, query) = target.split_once('?')?;
    Some(query.to_owned())
}

fn missing(endpoint: &Endpoint, reference: &Reference) -> Error {
    Error::NotFound {
        registry: endpoint.registry.clone(),
        what: format!("a tag of {}", reference.path()),
        hint: "",
    }
}
