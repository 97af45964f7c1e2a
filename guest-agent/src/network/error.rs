//! What can fail in a container's network.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// A failure of a network operation: what failed, on what, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    /// No such network.
    #[error("network {0} not found")]
    UnknownNetwork(String),
    /// The identifier cannot name a file.
    #[error("{0:?} is not a container id")]
    InvalidId(String),
    /// The container has no network, or none any more.
    #[error("container {0} has no network: start it first")]
    NotAttached(String),
    /// `container:NAME` of a container that does not run.
    #[error("cannot join the network of container {0}: it is not running")]
    TargetNotRunning(String),
    /// The agent was started without a bridge.
    #[error("this agent runs without a bridge network: use the network host or none")]
    BridgeDisabled,
    /// Every address of the range is in use.
    #[error("no address left in {subnet}: remove containers that are not needed")]
    AddressesExhausted {
        /// The range, as "172.17.0.0/16".
        subnet: String,
    },
    /// A request to the kernel was refused.
    #[error("cannot {action}")]
    Kernel {
        /// What was tried, on what.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file could not be read, written, mounted or removed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// "write", "mount", …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The packet filter's rules could not be set.
    #[error("nft refused the rules of table {table}: {message}")]
    Firewall {
        /// The table, in family inet.
        table: String,
        /// What nft wrote, or why it could not run.
        message: String,
    },
    /// Nothing accepts connections at a container's port.
    #[error("cannot connect to port {port} of container {container} at {address}")]
    Connect {
        /// The container's id.
        container: String,
        /// The container's address, or the loopback's in its namespace.
        address: Ipv4Addr,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// A line of `--add-host` that cannot be used.
    #[error("invalid extra host {0:?}: give NAME:ADDRESS or NAME:host-gateway")]
    InvalidExtraHost(String),
    /// An address of `--dns` that cannot be used.
    #[error("invalid DNS server {0:?}: give an IP address")]
    InvalidDnsServer(String),
    /// What was asked makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A network of this name is there already.
    #[error("network with name {0} already exists")]
    Exists(String),
    /// The state of networks or containers does not allow it.
    #[error("{0}")]
    Refused(String),
    /// The thread that did the work panicked or the runtime is going down.
    #[error("the network operation on {0} was interrupted")]
    Interrupted(String),
}

impl NetworkError {
    /// Returns a closure that turns an I/O error into [`NetworkError::Kernel`].
    pub(super) fn kernel(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Kernel { action, source }
    }

    /// Returns a closure that turns an I/O error into [`NetworkError::File`].
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
