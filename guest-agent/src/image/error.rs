use std::io;
use std::path::Path;

use tonic::Code;

/// What can go wrong with images. Messages are meant for the user as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No image has this name, id or id prefix.
    #[error("no such image: {0}")]
    NotFound(String),
    /// An id prefix that fits several images.
    #[error("{0} is the beginning of several image ids: give more digits")]
    Ambiguous(String),
    /// A name that Docker's grammar of references does not allow.
    #[error("invalid reference {reference:?}: {reason}")]
    InvalidReference {
        /// The name as given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A removal that the image's state does not allow; Docker's wording.
    #[error("conflict: {0}")]
    Conflict(String),
    /// An archive that is not what it should be, or ends too early.
    #[error("invalid archive: {0}")]
    InvalidArchive(String),
    /// A layer's entry that reaches outside the layer, or cannot be unpacked safely.
    #[error("refused to unpack {entry:?} of the layer {layer}: {reason}")]
    UnsafeEntry {
        /// The layer, as the archive calls it.
        layer: String,
        /// The entry's name in the layer.
        entry: String,
        /// Why it is refused.
        reason: String,
    },
    /// An entry of an archive that cannot be copied to where it should go.
    #[error("cannot copy {entry:?}: {reason}")]
    Refused {
        /// The entry's name in the archive.
        entry: String,
        /// Why not.
        reason: String,
    },
    /// Content that is not what its digest says.
    #[error("{what} is damaged: expected {expected}, found {found}; fetch or save the image again")]
    DigestMismatch {
        /// The blob, as the archive calls it.
        what: String,
        /// The digest or size it should have.
        expected: String,
        /// The digest or size it has.
        found: String,
    },
    /// An image for other machines only.
    #[error("the image {image} has no variant for {wanted}, only for {found}")]
    NoMatchingPlatform {
        /// The image's name or digest.
        image: String,
        /// Our platform, `linux/amd64`.
        wanted: String,
        /// What the image offers.
        found: String,
    },
    /// A Dockerfile instruction of an import that cannot be applied.
    #[error("invalid change {change:?}: {reason}")]
    InvalidChange {
        /// The instruction as given.
        change: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A user or group that the image does not know.
    #[error("{0}")]
    UnknownUser(String),
    /// The data disk is full.
    #[error(
        "no space left on the data disk while {what}: remove images or containers that are not needed, or enlarge the disk"
    )]
    DiskFull {
        /// What was being written.
        what: String,
    },
    /// The store's own records are damaged.
    #[error("the image store is damaged: {0}")]
    Damaged(String),
    /// Any other failure of the file system or the stream.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, on what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// Wraps an I/O error with what was being done; a full disk becomes [`Error::DiskFull`].
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Error {
        let (what, source) = (what.into(), source.into());
        // By its kind: an error that carries a path has no number any more.
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull { what },
            _ => Error::Io { what, source },
        }
    }

    /// Wraps an I/O error with a verb and the path it failed on.
    pub(crate) fn path(verb: &str, path: &Path, source: impl Into<io::Error>) -> Error {
        Error::io(format!("{verb} {}", path.display()), source)
    }

    /// Returns the gRPC status code that says this error.
    pub(crate) fn code(&self) -> Code {
        match self {
            Error::NotFound(_) => Code::NotFound,
            Error::Conflict(_) => Code::FailedPrecondition,
            Error::DiskFull { .. } => Code::ResourceExhausted,
            Error::Damaged(_) => Code::DataLoss,
            Error::Io { .. } => Code::Internal,
            Error::Ambiguous(_)
            | Error::InvalidReference { .. }
            | Error::InvalidArchive(_)
            | Error::UnsafeEntry { .. }
            | Error::Refused { .. }
            | Error::DigestMismatch { .. }
            | Error::NoMatchingPlatform { .. }
            | Error::InvalidChange { .. }
            | Error::UnknownUser(_) => Code::InvalidArgument,
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        tonic::Status::new(error.code(), error.to_string())
    }
}
