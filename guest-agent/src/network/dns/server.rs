//! The sockets of the embedded name server.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::super::NetworkError;
use super::answer::{Answer, answer};
use super::forward::{forward, read_message, write_message};
use super::view::View;

/// Queries that wait for an upstream server, over UDP and TCP together.
/// Further ones over UDP are dropped, and the client asks again.
const IN_FLIGHT: usize = 128;

/// TCP connections at once; further ones are closed.
const CONNECTIONS: usize = 64;

/// How long a TCP connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// The longest query that is read from a datagram.
const LONGEST_QUERY: usize = 4096;

/// A running name server; it ends when this is dropped.
pub(in crate::network) struct Server {
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Clone)]
struct Service {
    view: Arc<View>,
    in_flight: Arc<Semaphore>,
}

/// The two sockets of a name server, in the namespace where they were made.
pub(in crate::network) struct Sockets {
    datagrams: std::net::UdpSocket,
    streams: std::net::TcpListener,
}

impl Sockets {
    /// Listens on a port of `address`, which the calling thread's network
    /// namespace has; 0 is any port that is free for both.
    pub(in crate::network) fn bind(address: Ipv4Addr, port: u16) -> Result<Self, NetworkError> {
        let bind = || -> io::Result<Self> {
            let streams = std::net::TcpListener::bind((address, port))?;
            let port = streams.local_addr()?.port();
            let datagrams = std::net::UdpSocket::bind((address, port))?;
            datagrams.set_nonblocking(true)?;
            streams.set_nonblocking(true)?;
            Ok(Self { datagrams, streams })
        };
        let attempts = if port == 0 { 8 } else { 1 };
        let mut bound = bind();
        for _ in 1..attempts {
            if bound.is_ok() {
                break;
            }
            bound = bind();
        }
        bound.map_err(NetworkError::kernel(format!(
            "listen for DNS queries on {address}:{port}"
        )))
    }

    /// Returns the port of both.
    pub(in crate::network) fn port(&self) -> io::Result<u16> {
        Ok(self.streams.local_addr()?.port())
    }
}

impl Server {
    /// Answers on `runtime`.
    pub(in crate::network) fn start(
        runtime: &Handle,
        sockets: Sockets,
        view: Arc<View>,
    ) -> Result<Self, NetworkError> {
        let service = Service {
            view,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
        };
        let adopt = || -> io::Result<(UdpSocket, TcpListener)> {
            let _runtime = runtime.enter();
            Ok((
                UdpSocket::from_std(sockets.datagrams)?,
                TcpListener::from_std(sockets.streams)?,
            ))
        };
        let (datagrams, streams) =
            adopt().map_err(NetworkError::kernel("watch a name server's sockets"))?;
        Ok(Self {
            tasks: [
                runtime.spawn(service.clone().serve_datagrams(Arc::new(datagrams))),
                runtime.spawn(service.serve_streams(streams)),
            ],
        })
    }
}

impl Service {
    async fn serve_datagrams(self, socket: Arc<UdpSocket>) {
        let mut waiting = JoinSet::new();
        let mut buffer = vec![0; LONGEST_QUERY];
        loop {
            while waiting.try_join_next().is_some() {}
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An ICMP error of an earlier reply; the socket is fine.
                    tracing::debug!(%error, "receiving a DNS query");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let query = &buffer[..length];
            match answer(&self.view, query) {
                Answer::Drop => {}
                // A reply that does not fit the socket's buffer is lost, as on
                // any wire.
                Answer::Reply(reply) => drop(socket.try_send_to(&reply, client)),
                Answer::Forward(limit) => {
                    let Ok(permit) = self.in_flight.clone().try_acquire_owned() else {
                        continue;
                    };
                    let (query, socket) = (query.to_vec(), socket.clone());
                    let upstream = self.view.upstream();
                    waiting.spawn(async move {
                        let reply = forward(&upstream, &query, limit).await;
                        drop(socket.send_to(&reply, client).await);
                        drop(permit);
                    });
                }
            }
        }
    }

    async fn serve_streams(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) if connections.len() < CONNECTIONS => {
                    let service = self.clone();
                    connections.spawn(async move {
                        if let Err(error) = service.serve_stream(stream).await {
                            tracing::debug!(%error, "DNS connection");
                        }
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    // Out of descriptors: do not spin until some are free.
                    tracing::warn!(%error, "cannot accept a DNS connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let query = match timeout(SILENCE, read_message(&mut stream)).await {
                Err(_) => return Ok(()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(query) => query?,
            };
            let reply = match answer(&self.view, &query) {
                Answer::Drop => return Ok(()),
                Answer::Reply(reply) => reply,
                Answer::Forward(_) => {
                    let _permit = self.in_flight.acquire().await.map_err(io::Error::other)?;
                    forward(&self.view.upstream(), &query, usize::from(u16::MAX)).await
                }
            };
            timeout(SILENCE, write_message(&mut stream, &reply)).await??;
        }
    }
}
