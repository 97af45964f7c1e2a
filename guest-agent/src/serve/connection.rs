//! One accepted connection, whatever kind of socket it came on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

/// How long a write waits after the kernel had no buffer for it.
const NO_BUFFER_PAUSE: Duration = Duration::from_millis(1);

/// Options of AF_VSOCK in `linux/vm_sockets.h`.
const BUFFER_SIZE: libc::c_int = 0;
const BUFFER_MAX_SIZE: libc::c_int = 2;

/// Sets how many bytes a vsock holds for its reader, or those do that it accepts.
///
/// # Errors
///
/// Where it is no vsock.
pub(super) fn set_window(socket: &impl AsRawFd, bytes: u64) -> io::Result<()> {
    // The limit first, to which the size is held.
    for option in [BUFFER_MAX_SIZE, BUFFER_SIZE] {
        set_option(socket, libc::AF_VSOCK, option, bytes)?;
    }
    Ok(())
}

/// Sets an option of a socket, whose value is this number.
fn set_option<Number: Copy>(
    socket: &impl AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: Number,
) -> io::Result<()> {
    // SAFETY: an open socket, and a value of the length that is told.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A stream socket that tokio reads and writes, and that can be handed to
/// another process as a descriptor.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Waited on for what there is to read alone: the kernel tells a vsock's waiting
    /// writer of each packet that the host took, which wakes for nothing as long as
    /// there is room.
    socket: AsyncFd<OwnedFd>,
    /// Waited on for room, from when there was none for the first time.
    writer: OnceLock<AsyncFd<OwnedFd>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// Takes a connected stream socket.
    ///
    /// # Errors
    ///
    /// When the reactor cannot take it.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        // SAFETY: the descriptor is owned, and stays the same for as long as it lives.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self {
            socket,
            writer: OnceLock::new(),
            pause: None,
        })
    }

    /// Returns when the other side has closed the connection, or broken it.
    /// Takes no bytes; what the other side sent before still can be read.
    pub(crate) async fn closed(&self) {
        loop {
            let Ok(mut guard) = self.socket.ready(Interest::READABLE).await else {
                return;
            };
            // Also set by a half-close, which no client of ours does before
            // it is done.
            if guard.ready().is_read_closed() || guard.ready().is_error() {
                return;
            }
            let mut byte = [0_u8; 1];
            match self.receive(&mut byte, libc::MSG_PEEK) {
                Ok(0) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
                // Unread bytes stay readable, so that readiness says nothing
                // new: the next edge tells of the close.
                Ok(_) => guard.clear_ready(),
            }
        }
    }

    /// Reads what is there, and waits for it where there is nothing. Returns how many
    /// bytes, 0 at the end.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub(crate) async fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let received = self
                .socket
                .async_io(Interest::READABLE, |_| self.receive(buffer, 0));
            match received.await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => return received,
            }
        }
    }

    /// Has readers woken only once so many bytes are there, or the end. Vsock heeds
    /// it, Unix sockets do not.
    ///
    /// # Errors
    ///
    /// Where the socket cannot hold as many.
    pub(crate) fn set_low_water(&self, bytes: usize) -> io::Result<()> {
        let bytes = libc::c_int::try_from(bytes).map_err(io::Error::other)?;
        let socket = self.socket.get_ref();
        set_option(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
    }

    /// Has the connection hold so many bytes for its reader. Unix sockets, which take
    /// as many as they will, do not heed it.
    ///
    /// # Errors
    ///
    /// Where it is no vsock.
    pub(crate) fn set_window(&self, bytes: u64) -> io::Result<()> {
        set_window(self.socket.get_ref(), bytes)
    }

    /// Waits until there may be something to read.
    ///
    /// # Errors
    ///
    /// When the reactor is gone.
    pub(crate) async fn readable(&self) -> io::Result<Readable<'_>> {
        let ready = self.socket.readable().await?;
        Ok(Readable {
            connection: self,
            ready: Some(ready),
        })
    }

    /// Takes there to be something to read, where nobody would say so.
    pub(crate) fn readable_anyway(&self) -> Readable<'_> {
        Readable {
            connection: self,
            ready: None,
        }
    }

    /// Writes what the socket takes at once, 0 bytes if it takes none now.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match send(self.socket.get_ref(), bytes) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) || error.raw_os_error() == Some(libc::ENOBUFS) =>
            {
                Ok(0)
            }
            sent => sent,
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    ///
    /// Those of the socket; it may have taken a part then.
    pub(crate) async fn write_whole(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = match send(self.socket.get_ref(), bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writer = self.writer()?;
                    writer
                        .async_io(Interest::WRITABLE, |socket| send(socket, bytes))
                        .await
                }
                sent => sent,
            };
            match sent {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // As in `poll_write`.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    tokio::time::sleep(NO_BUFFER_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns what is waited on for room.
    fn writer(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Some(writer) = self.writer.get() {
            return Ok(writer);
        }
        let socket = self.socket.get_ref().try_clone()?;
        // SAFETY: as in `new`.
        let writer = unsafe { AsyncFd::register_with_interest(socket, Interest::WRITABLE) }?;
        Ok(self.writer.get_or_init(|| writer))
    }

    fn receive(&self, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
        // SAFETY: the buffer is valid for writes of its length.
        let length = unsafe {
            libc::recv(
                self.socket.get_ref().as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                flags,
            )
        };
        usize::try_from(length).map_err(|_| io::Error::last_os_error())
    }

    /// Has `send` write once the socket takes bytes, and again after what passes.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        mut send: impl FnMut(&OwnedFd) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let sent = match send(self.socket.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut guard = ready!(self.writer()?.poll_write_ready(context))?;
                    match guard.try_io(|socket| send(socket.get_ref())) {
                        Ok(sent) => sent,
                        Err(_would_block) => continue,
                    }
                }
                sent => sent,
            };
            match sent {
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel was out of buffers for a moment (seen with vsock):
                // the connection is whole.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(NO_BUFFER_PAUSE)));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// A connection that there may be something to read from.
pub(crate) struct Readable<'a> {
    connection: &'a Connection,
    ready: Option<AsyncFdReadyGuard<'a, OwnedFd>>,
}

impl Readable<'_> {
    /// Reads once, none if there is nothing. Returns how many bytes, 0 at the end.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.connection.receive(buffer, 0) {
            Ok(length) => {
                // A stream that gave less than it was asked for is empty, and tells
                // when it is no longer: to ask it again is a system call for nothing.
                if length < buffer.len() {
                    self.clear();
                }
                Ok(Some(length))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clear();
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn clear(&mut self) {
        if let Some(ready) = &mut self.ready {
            ready.clear_ready();
        }
    }
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the bytes are valid for reads of their length.
    let length = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(context))?;
            match guard.try_io(|_| self.receive(buffer.initialize_unfilled(), 0)) {
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, |socket| send(socket, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(self.socket.get_ref(), rustix::net::Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// PITFALLS 6.
    #[tokio::test]
    async fn a_write_for_which_there_was_no_buffer_is_done_again() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(ours.into()).unwrap();
        let mut refusals = 3;
        let began = std::time::Instant::now();
        let sent = std::future::poll_fn(|context| {
            connection.poll_send(context, |socket| {
                if refusals > 0 {
                    refusals -= 1;
                    return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
                }
                send(socket, b"whole")
            })
        });
        assert_eq!(sent.await.unwrap(), 5);
        // It was not asked again and again without a pause.
        assert!(began.elapsed() >= 3 * NO_BUFFER_PAUSE);
    }

    #[tokio::test]
    async fn a_write_to_nobody_fails() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(ours.into()).unwrap();
        drop(theirs);
        let sent = std::future::poll_fn(|context| {
            connection.poll_send(context, |socket| send(socket, b"lost"))
        });
        assert_eq!(sent.await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
