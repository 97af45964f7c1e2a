//! Container networks: the guest's uplink, a bridge for each network, one
//! network namespace for each container, name resolution, and the way in for
//! published ports.
//!
//! [`Network`] is all that the rest of the agent uses. Everything that talks
//! to the kernel is synchronous and runs on blocking threads; what has to enter
//! a namespace does so on a thread of its own, which ends there.

mod address;
mod attachment;
mod bridge;
mod change;
mod check;
mod context;
mod definition;
mod dns;
mod driver;
mod endpoint;
mod error;
mod files;
mod firewall;
mod interface;
mod mode;
mod namespace;
mod netlink;
mod options;
mod plan;
mod pool;
mod prefix;
mod record;
mod resolver;
mod service;
mod settled;
mod uplink;

#[cfg(test)]
mod tests;

pub(crate) use address::{Subnet, parse_hardware_address};
pub(crate) use change::movable;
pub(crate) use definition::{Definition, Range, predefined_id};
pub(crate) use error::NetworkError;
pub(crate) use files::{ResolverOptions, hosts, name_servers, own_lines, resolv_conf};
pub(crate) use interface::InterfaceOptions;
pub(crate) use mode::{AttachedEndpoint, Attachment, EndpointRequest, NetworkMode, SetupRequest};
pub(crate) use options::Options;
pub(crate) use plan::{NewNetwork, NewRange};
pub(crate) use prefix::Prefix;
pub(crate) use service::Network;
