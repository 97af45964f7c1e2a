//! UDP datagrams as frames: one bulk stream for each client, so that the
//! container sees one source port for each.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wherry_proto::frame::{Kind, encode_header, read_frame};

use super::listeners::Route;
use super::tcp::{PortStreamError, open};

/// The largest datagram, bytes.
const LARGEST: usize = 65_535;

/// Datagrams that wait for the guest, for each client; more are dropped, as UDP
/// may.
const QUEUE: usize = 256;

/// Bytes that wait for the guest, of all clients together.
const ALL_QUEUED: usize = 64 << 20;

/// Clients of one port at a time; further ones are not heard.
const CLIENTS: usize = 4096;

/// Clients of all ports together.
const ALL_CLIENTS: usize = 16_384;

/// How often it is logged at most that clients are not heard.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Bounds the flows of all ports together, and tells how long they live.
#[derive(Clone)]
pub(super) struct Budget {
    flows: Arc<Semaphore>,
    queued: Arc<Semaphore>,
    /// How long a flow lives with no datagram either way while the container has
    /// not answered.
    pub(super) unreplied: Duration,
    /// The same once it has.
    pub(super) replied: Duration,
}

impl Default for Budget {
    /// The times are those of Linux's connection tracking,
    /// nf_conntrack_udp_timeout and nf_conntrack_udp_timeout_stream.
    fn default() -> Self {
        Self {
            flows: Arc::new(Semaphore::new(ALL_CLIENTS)),
            queued: Arc::new(Semaphore::new(ALL_QUEUED)),
            unreplied: Duration::from_secs(30),
            replied: Duration::from_secs(180),
        }
    }
}

/// A datagram that waits, and its share of what may.
type Queued = (Bytes, OwnedSemaphorePermit);

thread_local! {
    /// One for each thread and not for each socket, of which there are thousands.
    static RECEIVED: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; LARGEST]);
}

/// Receives the next datagram.
async fn receive(socket: &UdpSocket) -> io::Result<(Bytes, SocketAddr)> {
    loop {
        socket.readable().await?;
        let received: io::Result<_> = RECEIVED.with_borrow_mut(|buffer| {
            let (length, client) = socket.try_recv_from(buffer)?;
            Ok((Bytes::copy_from_slice(&buffer[..length]), client))
        });
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

/// Serves the clients of a port until it is aborted.
pub(super) async fn serve(socket: UdpSocket, route: Route) {
    let socket = Arc::new(socket);
    let mut flows: HashMap<SocketAddr, mpsc::Sender<Queued>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut warned = None;
    loop {
        let received = tokio::select! {
            () = route.end.cancelled() => return,
            received = receive(&socket) => received,
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
        let Ok((datagram, client)) = received else {
            continue;
        };
        if flows.get(&client).is_none_or(mpsc::Sender::is_closed) {
            let permit = route.budget.flows.clone().try_acquire_owned();
            let (Ok(permit), true) = (permit, flows.len() < CLIENTS) else {
                if warned.is_none_or(|at: Instant| at.elapsed() > WARN_EVERY) {
                    warned = Some(Instant::now());
                    tracing::warn!(
                        port = route.target.port,
                        "too many clients of UDP ports: new ones are not heard until others are silent"
                    );
                }
                continue;
            };
            let (sender, queue) = mpsc::channel(QUEUE);
            flows.insert(client, sender);
            tasks.spawn(flow(socket.clone(), client, queue, route.clone(), permit));
        }
        // A full queue drops the datagram. One is shorter than 2^16 bytes.
        let share = route.budget.queued.clone();
        if let Some(flow) = flows.get(&client)
            && let Ok(share) = share.try_acquire_many_owned(datagram.len() as u32)
        {
            let _ = flow.try_send((datagram, share));
        }
    }
}

async fn flow(
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    queue: mpsc::Receiver<Queued>,
    route: Route,
    _permit: OwnedSemaphorePermit,
) -> SocketAddr {
    if let Err(error) = carry(&socket, client, queue, &route).await {
        tracing::debug!(%client, %error, "a UDP flow ended");
    }
    client
}

/// When a flow had its latest datagram, and how long it lives after that.
struct Idle<'a> {
    begun: Instant,
    /// Milliseconds from the beginning to the latest datagram, shifted by one
    /// bit, which says whether the container has answered.
    latest: AtomicU64,
    budget: &'a Budget,
}

impl Idle<'_> {
    fn touch(&self, by_container: bool) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX >> 1);
        let replied = self.latest.load(Ordering::Relaxed) & 1;
        let latest = now << 1 | replied | u64::from(by_container);
        self.latest.store(latest, Ordering::Relaxed);
    }

    fn ends(&self) -> Instant {
        let latest = self.latest.load(Ordering::Relaxed);
        let patience = match latest & 1 {
            0 => self.budget.unreplied,
            _ => self.budget.replied,
        };
        self.begun + Duration::from_millis(latest >> 1) + patience
    }

    /// Waits until nothing was heard for too long.
    async fn over(&self) {
        loop {
            let ends = self.ends();
            tokio::time::sleep_until(ends).await;
            if self.ends() <= ends {
                return;
            }
        }
    }
}

async fn carry(
    socket: &UdpSocket,
    client: SocketAddr,
    mut queue: mpsc::Receiver<Queued>,
    route: &Route,
) -> Result<(), PortStreamError> {
    let guest = open(&route.dial, &route.target).await?;
    let (mut from_guest, mut to_guest) = tokio::io::split(guest);
    let idle = Idle {
        begun: Instant::now(),
        latest: AtomicU64::new(0),
        budget: &route.budget,
    };
    let outward = async {
        let mut frames = Vec::new();
        while let Some((datagram, _share)) = queue.recv().await {
            idle.touch(false);
            frames.clear();
            frame(&mut frames, &datagram);
            // What waits already goes along in one write.
            while frames.len() < LARGEST
                && let Ok((datagram, _share)) = queue.try_recv()
            {
                frame(&mut frames, &datagram);
            }
            to_guest.write_all(&frames).await?;
        }
        Ok(())
    };
    let inward = async {
        let mut from_guest = tokio::io::BufReader::with_capacity(LARGEST, &mut from_guest);
        while let Some(frame) = read_frame(&mut from_guest).await? {
            match frame.kind {
                Kind::Data => {
                    idle.touch(true);
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
        () = idle.over() => Ok(()),
    }
}

fn frame(frames: &mut Vec<u8>, datagram: &[u8]) {
    // A datagram is far below a frame's limit.
    frames.extend_from_slice(&encode_header(Kind::Data, datagram.len() as u32));
    frames.extend_from_slice(datagram);
}
