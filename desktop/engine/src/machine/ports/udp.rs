//! UDP datagrams as frames: one bulk stream for each client, so that the
//! container sees one source port for each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wherry_proto::frame::{Kind, read_frame, write_frame};

use super::listeners::Route;
use super::tcp::{PortStreamError, open};

/// How long a client's flow lives with no datagram either way: longer than the
/// 30 s of RFC 4787's shortest recommendation for idle bindings is unneeded on
/// a loopback, shorter breaks protocols that ping twice a minute.
const IDLE: Duration = Duration::from_secs(90);

/// The largest datagram, bytes.
const LARGEST: usize = 65_535;

/// Datagrams that wait for the guest, for each client; more are dropped, as UDP
/// may.
const QUEUE: usize = 256;

/// Clients of one port at a time; further ones are not heard.
const CLIENTS: usize = 4096;

/// Serves the clients of a port until it is aborted.
pub(super) async fn serve(socket: UdpSocket, route: Route) {
    let socket = Arc::new(socket);
    let mut flows: HashMap<SocketAddr, mpsc::Sender<Bytes>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let received = tokio::select! {
            () = route.end.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
            Some(ended) = tasks.join_next() => {
                if let Ok(client) = ended
                    && flows.get(&client).is_some_and(mpsc::Sender::is_closed)
                {
                    flows.remove(&client);
                }
                continue;
            }
        };
        // An error is the answer to an earlier datagram (ICMP), not to this call.
        let Ok((length, client)) = received else {
            continue;
        };
        if flows.get(&client).is_none_or(mpsc::Sender::is_closed) {
            if flows.len() >= CLIENTS {
                tracing::warn!(port = route.target.port, "too many clients of a UDP port");
                continue;
            }
            let (sender, queue) = mpsc::channel(QUEUE);
            flows.insert(client, sender);
            tasks.spawn(flow(socket.clone(), client, queue, route.clone()));
        }
        if let Some(flow) = flows.get(&client) {
            // A full queue drops the datagram.
            let _ = flow.try_send(Bytes::copy_from_slice(&buffer[..length]));
        }
    }
}

async fn flow(
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    queue: mpsc::Receiver<Bytes>,
    route: Route,
) -> SocketAddr {
    if let Err(error) = carry(&socket, client, queue, &route).await {
        tracing::debug!(%client, %error, "a UDP flow ended");
    }
    client
}

async fn carry(
    socket: &UdpSocket,
    client: SocketAddr,
    mut queue: mpsc::Receiver<Bytes>,
    route: &Route,
) -> Result<(), PortStreamError> {
    let guest = open(&route.dial, &route.target).await?;
    let (mut from_guest, mut to_guest) = tokio::io::split(guest);
    let begun = Instant::now();
    // Milliseconds from the beginning to the last datagram either way.
    let active = AtomicU64::new(0);
    let touch = || active.store(elapsed_ms(begun), Ordering::Relaxed);
    let outward = async {
        loop {
            let idle_since = begun + Duration::from_millis(active.load(Ordering::Relaxed));
            match tokio::time::timeout_at(idle_since + IDLE, queue.recv()).await {
                Ok(Some(datagram)) => {
                    touch();
                    write_frame(&mut to_guest, Kind::Data, &datagram).await?;
                }
                Ok(None) => return Ok(()),
                Err(_) if elapsed_ms(begun) >= active.load(Ordering::Relaxed) + idle_ms() => {
                    return Ok(());
                }
                Err(_) => {}
            }
        }
    };
    let inward = async {
        while let Some(frame) = read_frame(&mut from_guest).await? {
            match frame.kind {
                Kind::Data => {
                    touch();
                    // Best effort, as UDP is.
                    let _ = socket.send_to(&frame.payload, client).await;
                }
                Kind::End => break,
                _ => return Err(PortStreamError::Unexpected),
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = outward => ended,
        ended = inward => ended,
    }
}

fn elapsed_ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn idle_ms() -> u64 {
    u64::try_from(IDLE.as_millis()).unwrap_or(u64::MAX)
}
