//! The asynchronous face of one connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::endpoint::Endpoint;
use crate::table::Table;

/// A stream of bytes to a program in the guest.
///
/// Shutting it down ends the direction to the guest only: what the guest still
/// sends arrives. Dropping it ends both directions, after what was written has
/// been delivered. A connection that the guest resets, or that is lost because
/// the guest restarts, gives [`io::ErrorKind::ConnectionReset`] after the bytes
/// that had arrived; writing to one that the guest has closed gives
/// [`io::ErrorKind::BrokenPipe`].
#[derive(Debug)]
pub struct Stream {
    endpoint: Arc<Endpoint>,
    table: Arc<Table>,
}

impl Stream {
    pub(crate) fn new(endpoint: Arc<Endpoint>, table: Arc<Table>) -> Self {
        Self { endpoint, table }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the guest's port.
    pub fn port(&self) -> u32 {
        self.endpoint.ports.guest
    }

    fn write(&self, context: &Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = self.endpoint.lock();
        let result = state.poll_write(context, pieces);
        let schedule = state.schedule();
        drop(state);
        if schedule {
            self.table.push(self.endpoint.clone());
        }
        result
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.endpoint.lock();
        let result = state.poll_read(context, buffer.remaining(), |bytes| {
            buffer.put_slice(bytes);
        });
        let schedule = state.schedule();
        drop(state);
        if schedule {
            self.table.push(self.endpoint.clone());
        }
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: the device sends what was written without being asked.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.endpoint.lock().connection.shut_down_send();
        self.table.schedule(&self.endpoint);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.endpoint.lock().close();
        self.table.linger(&self.endpoint);
        self.table.schedule(&self.endpoint);
    }
}
