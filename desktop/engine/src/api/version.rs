//! The versions of the Engine API: the newest that is spoken, the oldest, and how
//! a path names one (`/v1.41/containers/json`).

use std::fmt;

use http::request::Parts;
use http::uri::{PathAndQuery, Uri};

use super::error::{ApiError, Result};

/// The newest version that is spoken, that of Docker 28.5.
pub(super) const NEWEST: ApiVersion = ApiVersion(1, 51);
/// The oldest version that is spoken.
pub(super) const OLDEST: ApiVersion = ApiVersion(1, 24);

/// A version of the Engine API. Calls that name none get the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion(u16, u16);

impl ApiVersion {
    /// Returns version 1.`minor`.
    pub(super) const fn minor(minor: u16) -> Self {
        Self(1, minor)
    }

    /// Returns the version that a request was made in.
    pub(super) fn of(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().copied().unwrap_or(NEWEST)
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// Takes the version off the front of a request's path.
///
/// # Errors
///
/// 400 for a version that is not spoken, in Docker's words.
pub(super) fn split(uri: &Uri) -> Result<(ApiVersion, Uri)> {
    let path = uri.path();
    let first = path.strip_prefix("/v").and_then(|rest| {
        let (version, _) = rest.split_once('/')?;
        ApiVersion::parse(version).map(|parsed| (parsed, version.len() + 2))
    });
    let Some((version, length)) = first else {
        let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        return Ok((NEWEST, with_path(uri, whole)?));
    };
    if version < OLDEST {
        return Err(ApiError::bad_request(format!(
            "client version {version} is too old. Minimum supported API version is {OLDEST}, \
             please upgrade your client to a newer version"
        )));
    }
    if version > NEWEST {
        return Err(ApiError::bad_request(format!(
            "client version {version} is too new. Maximum supported API version is {NEWEST}"
        )));
    }
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = whole.get(length..).unwrap_or("/");
    Ok((version, with_path(uri, rest)?))
}

/// Returns an address with another path and query. A name that is written with its
/// slash (`/containers//web/json`) stands there as if it were without.
fn with_path(uri: &Uri, whole: &str) -> Result<Uri> {
    let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
    let mut single = String::with_capacity(whole.len());
    for character in path.chars() {
        if !(character == '/' && single.ends_with('/')) {
            single.push(character);
        }
    }
    if !query.is_empty() {
        single.push('?');
        single.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(single.parse().map_err(ApiError::internal)?);
    Uri::from_parts(parts).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_of(path: &str) -> std::result::Result<(ApiVersion, String), String> {
        match split(&path.parse().unwrap()) {
            Ok((version, uri)) => Ok((version, uri.to_string())),
            Err(error) => Err(error.message().to_owned()),
        }
    }

    #[test]
    fn the_version_is_taken_off_the_path() {
        let expected = (ApiVersion(1, 41), "/containers/json?all=1".to_owned());
        assert_eq!(split_of("/v1.41/containers/json?all=1"), Ok(expected));
        assert_eq!(split_of("/_ping"), Ok((NEWEST, "/_ping".to_owned())));
        let slashed = split_of("/v1.51/containers//web/json?a=//b");
        assert_eq!(slashed.unwrap().1, "/containers/web/json?a=//b");
        // Begins like a version and is none.
        assert_eq!(split_of("/volumes"), Ok((NEWEST, "/volumes".to_owned())));
        assert_eq!(split_of("/v1.x/y"), Ok((NEWEST, "/v1.x/y".to_owned())));
    }

    #[test]
    fn versions_that_are_not_spoken_are_refused_in_dockers_words() {
        assert_eq!(
            split_of("/v1.99/info").unwrap_err(),
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        assert!(split_of("/v1.10/info").unwrap_err().contains("too old"));
    }
}
