//! Why a port cannot be published.

use std::io;
use std::net::SocketAddr;

use tonic::Status;

use crate::platform::Protocol;

/// Why a port cannot be published.
#[derive(Debug, thiserror::Error)]
pub(super) enum PortError {
    #[error(
        "port {} on {} is taken by {}: publish another one, for example -p {}",
        address.port(), address.ip(), owner.as_deref().unwrap_or("another program"), example(*address, *container_port, *protocol)
    )]
    Taken {
        address: SocketAddr,
        protocol: Protocol,
        container_port: u16,
        /// Looked for once it is clear that no other port will do.
        owner: Option<String>,
    },
    #[error(
        "port {} on {} is only for root: publish one from 1024 up, for example -p {}",
        address.port(), address.ip(), privileged_example(*address, *container_port, *protocol)
    )]
    Privileged {
        address: SocketAddr,
        protocol: Protocol,
        container_port: u16,
    },
    #[error(
        "{address} is no address of this host: publish on 127.0.0.1 or 0.0.0.0, or on one that the host has"
    )]
    NotHere { address: std::net::IpAddr },
    #[error("{text:?} is no IP address to publish a port on: use one such as 127.0.0.1")]
    Address { text: String },
    #[error("{number} is no port: ports go from 1 to 65535")]
    Number { number: u32 },
    #[error("{first} to {last} is no range of ports")]
    Range { first: u16, last: u16 },
    #[error("none of the ports {first} to {last} on {address} is free: publish on another range")]
    AllTaken {
        first: u16,
        last: u16,
        address: std::net::IpAddr,
    },
    #[error(
        "{ports} ports take {wanted} descriptors, and the machine may have {limit} open: publish fewer, or raise its limit (ulimit -Hn) and restart the machine"
    )]
    Descriptors {
        ports: usize,
        wanted: u64,
        limit: u64,
    },
    #[error("the ports cannot be bound: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    #[error("{text:?} is no protocol that can be published: use tcp or udp")]
    Protocol { text: String },
    #[error("port {} on {} cannot be listened on: {source}", address.port(), address.ip())]
    Other {
        address: SocketAddr,
        source: io::Error,
    },
}

fn example(address: SocketAddr, container_port: u16, protocol: Protocol) -> String {
    let next = address.port().checked_add(1).unwrap_or(8080);
    mapping(next, container_port, protocol)
}

fn privileged_example(address: SocketAddr, container_port: u16, protocol: Protocol) -> String {
    mapping(
        address.port().saturating_add(8000),
        container_port,
        protocol,
    )
}

fn mapping(host: u16, container: u16, protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => format!("{host}:{container}"),
        Protocol::Udp => format!("{host}:{container}/udp"),
    }
}

impl From<PortError> for Status {
    fn from(error: PortError) -> Self {
        let message = error.to_string();
        match error {
            PortError::Taken { .. } | PortError::AllTaken { .. } => Self::already_exists(message),
            PortError::Privileged { .. } => Self::permission_denied(message),
            PortError::NotHere { .. }
            | PortError::Address { .. }
            | PortError::Number { .. }
            | PortError::Range { .. }
            | PortError::Protocol { .. } => Self::invalid_argument(message),
            PortError::Descriptors { .. } => Self::resource_exhausted(message),
            PortError::Interrupted(_) => Self::internal(message),
            PortError::Other { .. } => Self::failed_precondition(message),
        }
    }
}
