//! Names in paths.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::error::ApiError;

/// What a path names: a container, image, network, volume or exec. Docker's names
/// of containers may stand behind a slash.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name.trim_start_matches('/').to_owned())),
            Err(error) => Err(ApiError::bad_request(error.body_text())),
        }
    }
}
