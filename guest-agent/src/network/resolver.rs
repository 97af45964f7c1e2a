//! A container's own name server: it is in the container's namespace, at the
//! address that Docker's has there, for configurations that name it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::NetworkError;
use super::dns::{Server, Sockets, View};
use super::firewall;

/// Where Docker's is.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// A name server that runs; it ends when this is dropped.
pub(super) struct Resolver {
    pub(super) view: Arc<View>,
    pub(super) _server: Server,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Makes a name server's sockets in the calling thread's namespace and leads
/// the queries there: to the port that an earlier process had, where it is free
/// still, or to any.
pub(super) fn open(before: Option<u16>) -> Result<Sockets, NetworkError> {
    let kept = before.and_then(|port| Sockets::bind(ADDRESS, port).ok());
    let sockets = match kept {
        Some(sockets) => return Ok(sockets),
        None => Sockets::bind(ADDRESS, 0)?,
    };
    let port = sockets
        .port()
        .map_err(NetworkError::kernel("ask a name server for its port"))?;
    firewall::redirect_queries(ADDRESS, port)?;
    Ok(sockets)
}
