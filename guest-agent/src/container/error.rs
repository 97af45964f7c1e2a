//! What can go wrong with containers, in words meant for the user.

use std::io;
use std::path::Path;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::image;

/// The gRPC metadata that carries the exit code a failed start stands for.
const EXIT_CODE: &str = "wherry-exit-code";

/// What can go wrong with containers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What Docker has and this agent has not, by name.
    #[error("{0}")]
    Unsupported(String),
    /// No container has this name, id or id prefix.
    #[error("No such container: {0}")]
    NotFound(String),
    /// No such exec.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// No such image.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// No volume has this name.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// A container has nothing at this path.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchPath {
        /// The container's name.
        container: String,
        /// The path as given.
        path: String,
    },
    /// No such network.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// An id prefix that fits several containers.
    #[error("Multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The id of the container that has it.
        owner: String,
    },
    /// Something of this name is there already.
    #[error("{0}")]
    Exists(String),
    /// A value that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The container's state does not allow it.
    #[error("{0}")]
    State(String),
    /// The container did not start.
    #[error("{message}")]
    Start {
        /// The exit code of a command that ran it: 126 or 127, else 125.
        exit_code: i32,
        /// Why.
        message: String,
    },
    /// The data disk is full.
    #[error(
        "no space left on the data disk while {0}: remove images or containers that are not needed, or enlarge the disk"
    )]
    DiskFull(String),
    /// The image store failed.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// Anything else of the system.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, on what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A failure of another part, already in words.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Wraps an I/O error with what was being done; a full disk is
    /// [`Error::DiskFull`].
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let (what, source) = (what.into(), source.into());
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::DiskFull(what),
            _ => Self::Io { what, source },
        }
    }

    /// Wraps an I/O error with a verb and the path it failed on.
    pub(crate) fn path(verb: &str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::io(format!("{verb} {}", path.display()), source)
    }

    /// Returns the gRPC status code that says this error.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::NotFound(_)
            | Self::NoSuchExec(_)
            | Self::NoSuchImage(_)
            | Self::NoSuchVolume(_)
            | Self::NoSuchPath { .. }
            | Self::NoSuchNetwork(_) => Code::NotFound,
            Self::NameTaken { .. } | Self::Exists(_) => Code::AlreadyExists,
            Self::Invalid(_) | Self::Ambiguous(_) => Code::InvalidArgument,
            Self::Unsupported(_) => Code::Unimplemented,
            Self::State(_) | Self::Start { .. } => Code::FailedPrecondition,
            Self::DiskFull(_) => Code::ResourceExhausted,
            Self::Image(error) => error.code(),
            Self::Io { .. } | Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut status = Status::new(error.code(), error.to_string());
        if let Error::Start { exit_code, .. } = error {
            status
                .metadata_mut()
                .insert(EXIT_CODE, MetadataValue::from(exit_code));
        }
        status
    }
}
