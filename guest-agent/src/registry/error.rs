use tonic::Code;

use crate::image;

/// What can go wrong with registries. Messages are meant for the user as they
/// are and never hold a credential.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something in the request that the user wrote is wrong.
    #[error("{0}")]
    Invalid(String),
    /// No connection, or one that broke again and again.
    #[error("cannot reach the registry {registry}: {reason}")]
    Unreachable {
        /// The registry, as the image's name has it.
        registry: String,
        /// What the last attempt failed with.
        reason: String,
    },
    /// The registry wants other credentials, or some at all.
    #[error(
        "{registry} refuses access to {subject}: {reason}; `wherry login {registry}` if it needs a login"
    )]
    Unauthorized {
        /// The registry.
        registry: String,
        /// The repository, or "the login".
        subject: String,
        /// The registry's own words.
        reason: String,
    },
    /// The registry does not have it.
    #[error("{what} is not in the registry {registry}{hint}")]
    NotFound {
        /// The registry.
        registry: String,
        /// The image as the user named it.
        what: String,
        /// What else it may be; empty, or begins with a separator.
        hint: &'static str,
    },
    /// What is to be sent is not here.
    #[error("{0}")]
    Missing(String),
    /// The registry refuses, and says so.
    #[error("the registry {registry} answered {request} with {status}: {reason}")]
    Refused {
        /// The registry.
        registry: String,
        /// The method and path.
        request: String,
        /// The HTTP status.
        status: u16,
        /// Its own words.
        reason: String,
    },
    /// An answer that the protocol does not allow, or that is not what it claims.
    #[error("the registry {registry} cannot be trusted: {reason}")]
    Dishonest {
        /// The registry.
        registry: String,
        /// What it did.
        reason: String,
    },
    /// What came is an artifact of another kind.
    #[error("{0}")]
    NoImage(String),
    /// The image store's part failed.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// A task of ours failed.
    #[error("an internal task failed: {0}")]
    Internal(String),
}

impl Error {
    /// Returns the gRPC status code that says this error.
    pub(crate) fn code(&self) -> Code {
        match self {
            Error::Invalid(_) | Error::NoImage(_) => Code::InvalidArgument,
            Error::Unreachable { .. } => Code::Unavailable,
            Error::Unauthorized { .. } => Code::Unauthenticated,
            Error::NotFound { .. } | Error::Missing(_) => Code::NotFound,
            Error::Refused { .. } => Code::FailedPrecondition,
            Error::Dishonest { .. } => Code::DataLoss,
            Error::Image(error) => error.code(),
            Error::Internal(_) => Code::Internal,
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        tonic::Status::new(error.code(), error.to_string())
    }
}
