//! Why an entry of a layer was not made.

use std::io;

use super::root::Refusal;
use crate::image::Error;

/// Why an entry was not made.
pub(super) enum Failure {
    Refused(Refusal),
    Read(io::Error),
}

impl<E: Into<Refusal>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Refused(error.into())
    }
}

impl Failure {
    /// Names the layer and the entry.
    pub(super) fn into_error(self, layer: &str, path: &[u8]) -> Error {
        let entry = String::from_utf8_lossy(path).into_owned();
        match self {
            Failure::Read(error) => Error::InvalidArchive(format!("the layer {layer}: {error}")),
            Failure::Refused(Refusal::Unsafe(reason)) => Error::UnsafeEntry {
                layer: layer.to_owned(),
                entry,
                reason,
            },
            Failure::Refused(Refusal::System(error)) => {
                Error::io(format!("unpacking {entry:?} of the layer {layer}"), error)
            }
        }
    }
}
