//! Where the agent listens: two vsock ports, or two Unix sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::Sleep;
use tokio_stream::Stream;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener};

use super::connection::{Connection, set_window};

/// How long accepting rests after it failed for want of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted: a thousand clients of a published
/// port come at once. The kernel's own bound, somaxconn, is the same.
const BACKLOG: i32 = 4096;

/// Bytes that a connection holds for its reader. With the kernel's own 256 KiB the
/// host waits for room while the reader copies.
const WINDOW: u64 = 512 * 1024;

enum Socket {
    Vsock(VsockListener),
    Unix(UnixListener),
}

/// Accepts connections, from the host only.
pub(super) struct Listener {
    socket: Socket,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Listener {
    /// Listens on a vsock port.
    ///
    /// # Errors
    ///
    /// When the port is taken or the kernel has no vsock device.
    pub(super) fn vsock(port: u32) -> io::Result<Self> {
        let listener = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port))?;
        // Again, with room for more than the library leaves; the kernel resets
        // what finds none (vsock(7)).
        rustix::net::listen(&listener, BACKLOG)?;
        set_window(&listener, WINDOW)?;
        Ok(Self::new(Socket::Vsock(listener)))
    }

    /// Listens on a Unix socket, in place of whatever socket an earlier agent
    /// left there.
    ///
    /// # Errors
    ///
    /// When the path is too long or not writable.
    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self::new(Socket::Unix(UnixListener::bind(path)?)))
    }

    fn new(socket: Socket) -> Self {
        Self {
            socket,
            pause: None,
        }
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        loop {
            let socket: OwnedFd = match &self.socket {
                Socket::Unix(listener) => {
                    let (stream, _) = ready!(listener.poll_accept(context))?;
                    stream.into_std()?.into()
                }
                Socket::Vsock(listener) => {
                    let (stream, peer) = ready!(listener.poll_accept_std(context))?;
                    if peer.cid() != VMADDR_CID_HOST {
                        tracing::warn!(
                            cid = peer.cid(),
                            "refused a connection that is not the host's"
                        );
                        continue;
                    }
                    stream.into()
                }
            };
            return Poll::Ready(Connection::new(socket));
        }
    }
}

impl Stream for Listener {
    type Item = io::Result<Connection>;

    /// Never ends, and never fails: one connection that cannot be accepted
    /// must not stop the next.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(self.poll_accept(context)) {
                Ok(connection) => return Poll::Ready(Some(Ok(connection))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.pause = Some(Box::pin(tokio::time::sleep(EXHAUSTED_PAUSE)));
                }
            }
        }
    }
}
