//! One published port: its sockets, each served by a task.

use std::net::SocketAddr;

use tokio::task::JoinHandle;
use wherry_proto::v1::PublishedPort;

use super::bind::{Bound, HostSocket, Wish, bind_again};
use super::error::PortError;
use super::listeners::Route;
use super::{tcp, udp};

/// A port that is open. Dropping it closes it; connections that stand go on.
pub(super) struct OpenPort {
    wish: Wish,
    published: Vec<PublishedPort>,
    route: Route,
    listeners: Vec<Listener>,
}

struct Listener {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OpenPort {
    /// Serves the sockets of a port. To be called in a runtime.
    pub(super) fn serve(bound: Bound, route: Route) -> Self {
        Self {
            published: bound.published(),
            wish: bound.wish,
            listeners: bound
                .sockets
                .into_iter()
                .map(|(address, socket)| Listener {
                    address,
                    task: spawn(socket, &route),
                })
                .collect(),
            route,
        }
    }

    pub(super) fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Returns the port as it is bound, once for each address.
    pub(super) fn published(&self) -> Vec<PublishedPort> {
        self.published.clone()
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners.iter().map(|listener| listener.address)
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// Returns how many sockets listen.
    pub(super) fn descriptors(&self) -> u64 {
        self.listeners.len() as u64
    }

    /// Listens again where a listener has ended by itself. Returns how many.
    ///
    /// # Errors
    ///
    /// Why one cannot listen again; the next call tries again.
    pub(super) fn mend(&mut self) -> Result<usize, PortError> {
        let mut mended = 0;
        for listener in &mut self.listeners {
            if listener.task.is_finished() && !self.route.end.is_cancelled() {
                let socket = bind_again(&self.wish, listener.address)?;
                listener.task = spawn(socket, &self.route);
                mended += 1;
            }
        }
        Ok(mended)
    }

    /// Closes the port at once; the future ends when it can be bound again.
    pub(super) fn close(mut self) -> impl Future<Output = ()> {
        let mut listeners = std::mem::take(&mut self.listeners);
        for listener in &listeners {
            listener.task.abort();
        }
        async move {
            for listener in &mut listeners {
                // The socket is closed when its task has ended.
                let _ = (&mut listener.task).await;
            }
        }
    }

    /// Ends the listeners as a fault would.
    #[cfg(test)]
    pub(super) fn break_down(&self) {
        self.listeners
            .iter()
            .for_each(|listener| listener.task.abort());
    }
}

fn spawn(socket: HostSocket, route: &Route) -> JoinHandle<()> {
    match socket {
        HostSocket::Tcp(listener) => tokio::spawn(tcp::serve(listener, route.clone())),
        HostSocket::Udp(socket) => tokio::spawn(udp::serve(socket, route.clone())),
    }
}
