//! Networks with regard to the containers that have them. The messages are
//! Docker's.

mod describe;
mod files;
mod links;
mod moves;
mod service;
mod unlink;
mod wanted;

pub(super) use links::Link;
pub(super) use wanted::{mode, names};

use super::chain;
use super::error::Error;
use crate::network::NetworkError;

/// Puts a failure of the network in the user's terms.
pub(super) fn network_error(error: NetworkError) -> Error {
    match error {
        NetworkError::UnknownNetwork(name) => Error::NoSuchNetwork(name),
        NetworkError::Exists(_) => Error::Exists(error.to_string()),
        NetworkError::Invalid(message) => Error::Invalid(message),
        NetworkError::Refused(_)
        | NetworkError::AddressesExhausted { .. }
        | NetworkError::NotAttached(_)
        | NetworkError::TargetNotRunning(_)
        | NetworkError::BridgeDisabled => Error::State(chain(&error)),
        NetworkError::InvalidExtraHost(_) | NetworkError::InvalidDnsServer(_) => {
            Error::Invalid(chain(&error))
        }
        error => Error::Internal(chain(&error)),
    }
}
