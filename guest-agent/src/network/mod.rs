//! Container networks: the guest's uplink, the bridge, one network namespace
//! for each container, name resolution, and the way in for published ports.
//!
//! [`Network`] is all that the rest of the agent uses. Everything that talks
//! to the kernel is synchronous and runs on blocking threads; what has to enter
//! a namespace does so on a thread of its own, which ends there.

mod address;
mod bridge;
mod check;
mod context;
mod dns;
mod driver;
mod error;
mod files;
mod firewall;
mod mode;
mod namespace;
mod netlink;
mod options;
mod record;
mod service;
mod uplink;

#[cfg(test)]
mod tests;

pub(crate) use address::Subnet;
pub(crate) use error::NetworkError;
pub(crate) use files::{hosts, resolv_conf};
pub(crate) use mode::{Attachment, NetworkMode, SetupRequest};
pub(crate) use options::Options;
pub(crate) use service::Network;
