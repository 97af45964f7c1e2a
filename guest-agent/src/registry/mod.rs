//! Registries: pulling and pushing images by the OCI distribution protocol
//! (opencontainers/distribution-spec 1.1).
//!
//! - `access`: what the host says: credentials, mirrors, who may go without TLS
//! - `transport`: HTTP and TLS; what the user calls localhost is the host
//! - `session`: requests with authorization (`challenge`, `token`), redirects
//!   and retries; answers are read no further than they may be long
//! - `repository`: manifests and blobs, a blob's broken connection taken up
//!   again where it broke
//! - `pull`: an image, its `layers` side by side, straight into the unpacker
//! - `push`: an image, its layers packed on the way (`upload`)
//! - `search`: where a registry has one
//! - `distribution`: what a name stands for, without a pull
//! - `tags`: which tags a repository has
//! - `shared`: pulls of the same image share one; the last client ends it
//!
//! A layer that is whole is kept in the store at once, so that a pull cut off
//! goes on from there; visible is only a whole image.

mod access;
mod answer;
mod challenge;
mod distribution;
mod error;
mod layers;
mod progress;
mod pull;
mod push;
mod repository;
mod search;
mod session;
mod shared;
mod tags;
mod token;
mod transport;
mod upload;

pub(crate) use access::Access;
pub(crate) use distribution::distribution;
pub(crate) use error::Error;
pub(crate) use search::search;
pub(crate) use shared::Pulls;
pub(crate) use tags::tags;

use session::{Scope, Session};

/// Asks a registry whether it takes the credential that `access` has for it.
/// Returns the identity token to keep instead of the password; often empty.
pub(crate) async fn login(access: &Access, registry: &str) -> Result<String, Error> {
    let endpoint = access.endpoint(registry)?;
    let scope = Scope {
        repository: String::new(),
        actions: "pull",
        sources: Vec::new(),
    };
    Ok(Session::open(access, &endpoint, scope)
        .await?
        .identity_token())
}
