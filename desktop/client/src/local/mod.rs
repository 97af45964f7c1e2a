//! Local sockets: Unix sockets, and named pipes on Windows.
//!
//! [`connect`] and [`listen`] take the path that a socket has below the home
//! folder; on Windows the pipe's name comes from a hash of it. A stream closes
//! its sending side on shutdown where the platform can. (`interprocess` has
//! both kinds of socket, but its streams drop the shutdown on Unix, so it is
//! used for named pipes alone.)

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(unix)]
#[path = "unix.rs"]
mod imp;
#[cfg(windows)]
#[path = "windows.rs"]
mod imp;

pub use imp::{Hangup, LocalListener};

/// A connection over a local socket.
#[derive(Debug)]
pub struct LocalStream(imp::Inner);

/// Connects to the local socket at `path`.
///
/// # Errors
///
/// `NotFound` or `ConnectionRefused` where nobody listens, and what else the
/// system reports.
pub async fn connect(path: &Path) -> io::Result<LocalStream> {
    imp::connect(path).await.map(LocalStream)
}

/// Listens on the local socket at `path`, for its owner alone (mode 0600).
/// Replaces a socket that a dead process left, and none that answers.
///
/// # Errors
///
/// `AddrInUse` where somebody answers there, and what else the system reports.
pub async fn listen(path: &Path) -> io::Result<LocalListener> {
    imp::listen(path).await
}

/// Returns the socket at `path` as Docker's clients write an address.
#[must_use]
pub fn docker_host(path: &Path) -> String {
    imp::docker_host(path)
}

/// Connections as they come in, as tonic's `serve_with_incoming` takes them.
pub fn incoming(listener: LocalListener) -> impl Stream<Item = io::Result<LocalStream>> + Send {
    futures_util::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await;
        Some((accepted, listener))
    })
}

impl AsyncRead for LocalStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl tonic::transport::server::Connected for LocalStream {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn a_side_that_only_ended_its_sending_has_not_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let listener = listen(&path).await.unwrap();
        let mut client = connect(&path).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        let hangup = server.hangup().unwrap();
        client.write_all(b"x").await.unwrap();
        client.shutdown().await.unwrap();
        let mut read = Vec::new();
        server.read_to_end(&mut read).await.unwrap();
        let early = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(early, hangup.wait()).await.is_err());
        drop(client);
        let deadline = std::time::Duration::from_secs(5);
        tokio::time::timeout(deadline, hangup.wait()).await.unwrap();
    }
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_request_ended_early_still_gets_its_whole_reply() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let listener = listen(&path).await.unwrap();
        let server = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).await.unwrap();
            stream.write_all(&vec![b'r'; 1 << 20]).await.unwrap();
            request
        });
        let mut stream = connect(&path).await.unwrap();
        stream.write_all(b"request").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        assert_eq!(reply.len(), 1 << 20);
        assert_eq!(server.await.unwrap(), b"request");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_socket_left_by_a_dead_process_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = listen(&path).await.unwrap();
        connect(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_socket_that_answers_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let _first = listen(&path).await.unwrap();
        let error = listen(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        connect(&path).await.unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(listen(&path).await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
