//! Which ports are published for which container.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use wherry_proto::STREAM_PORT;
use wherry_proto::v1::{PortStream, PublishRequest, PublishedPort};

use super::bind::{Bound, HostSocket, Wish, bind};
use super::error::PortError;
use super::{tcp, udp};
use crate::platform::Protocol;
use crate::vm::{GuestStream, Vm};

/// Opens a new stream to the agent.
pub(super) type Dial =
    Arc<dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn GuestStream>>> + Send + Sync>;

/// What a listening socket needs to serve its clients.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) dial: Dial,
    pub(super) target: PortStream,
    /// Ends the connections, which go on when the port is closed.
    pub(super) end: CancellationToken,
}

/// The published ports of all containers. Dropping it closes them and their
/// connections.
pub(in crate::machine) struct Ports {
    dial: Dial,
    published: Mutex<HashMap<String, Published>>,
    end: CancellationToken,
    _end: DropGuard,
}

struct Published {
    wishes: Vec<Wish>,
    ports: Vec<PublishedPort>,
    listeners: Vec<JoinHandle<()>>,
}

impl Drop for Published {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
    }
}

impl Ports {
    pub(in crate::machine) fn new(vm: &Arc<dyn Vm>) -> Self {
        // Weak, so that a connection does not keep the VM.
        let vm = Arc::downgrade(vm);
        Self::with(Arc::new(move || match vm.upgrade() {
            Some(vm) => vm.connect(STREAM_PORT),
            None => Box::pin(async { Err(io::ErrorKind::NotConnected.into()) }),
        }))
    }

    fn with(dial: Dial) -> Self {
        let end = CancellationToken::new();
        Self {
            dial,
            published: Mutex::default(),
            _end: end.clone().drop_guard(),
            end,
        }
    }

    /// Binds a container's ports, all or none. The same container with the same
    /// ports again is the same answer; with others, they replace the old ones.
    pub(in crate::machine) async fn publish(
        &self,
        container: &str,
        ports: &[PublishedPort],
    ) -> Result<Vec<PublishedPort>, tonic::Status> {
        let wishes = ports
            .iter()
            .map(Wish::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let replaced = {
            let mut published = self.lock();
            match published.get(container) {
                Some(present) if present.wishes == wishes => return Ok(present.ports.clone()),
                _ => published.remove(container),
            }
        };
        close(replaced).await;
        let mut published = self.lock();
        let bound = wishes
            .iter()
            .cloned()
            .map(bind)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| name_container(error, &published))?;
        let ports: Vec<_> = bound.iter().map(Bound::published).collect();
        let listeners = bound
            .into_iter()
            .flat_map(|bound| self.listen(container, bound))
            .collect();
        let entry = Published {
            wishes,
            ports: ports.clone(),
            listeners,
        };
        published.insert(container.to_owned(), entry);
        Ok(ports)
    }

    /// Closes a container's listening ports, and returns when they can be bound
    /// again. Connections that stand go on.
    pub(in crate::machine) async fn unpublish(&self, container: &str) {
        let removed = self.lock().remove(container);
        close(removed).await;
    }

    pub(in crate::machine) fn list(&self) -> Vec<PublishRequest> {
        self.lock()
            .iter()
            .map(|(container, published)| PublishRequest {
                container: container.clone(),
                ports: published.ports.clone(),
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Published>> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, container: &str, bound: Bound) -> Vec<JoinHandle<()>> {
        let route = Route {
            dial: self.dial.clone(),
            target: PortStream {
                container: container.to_owned(),
                port: bound.wish.container_port.into(),
                protocol: bound.published().protocol,
            },
            end: self.end.clone(),
        };
        let serve = |socket| match socket {
            HostSocket::Tcp(listener) => tokio::spawn(tcp::serve(listener, route.clone())),
            HostSocket::Udp(socket) => tokio::spawn(udp::serve(socket, route.clone())),
        };
        bound.sockets.into_iter().map(serve).collect()
    }
}

async fn close(published: Option<Published>) {
    let Some(mut published) = published else {
        return;
    };
    let listeners = std::mem::take(&mut published.listeners);
    listeners.iter().for_each(JoinHandle::abort);
    for listener in listeners {
        // The socket is closed when its task has ended.
        let _ = listener.await;
    }
}

/// Names the container where it is one of ours that has the port.
fn name_container(error: PortError, published: &HashMap<String, Published>) -> PortError {
    let PortError::Taken {
        address,
        protocol,
        container_port,
        owner,
    } = error
    else {
        return error;
    };
    let has = |entry: &Published| {
        entry
            .ports
            .iter()
            .any(|port| same_port(port, address, protocol))
    };
    let owner = published
        .iter()
        .find(|(_, entry)| has(entry))
        .map_or(owner, |(container, _)| {
            format!("container {}", container.get(..12).unwrap_or(container))
        });
    PortError::Taken {
        address,
        protocol,
        container_port,
        owner,
    }
}

fn same_port(port: &PublishedPort, address: SocketAddr, protocol: Protocol) -> bool {
    port.host_port == u32::from(address.port())
        && (port.protocol == "udp") == (protocol == Protocol::Udp)
}

#[cfg(test)]
mod tests;
