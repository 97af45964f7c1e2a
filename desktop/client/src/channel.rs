//! gRPC over a local socket.

use std::io;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::local;

/// HTTP/2 flow-control windows, bytes: the protocol's 64 KiB would hold up one
/// large answer for a round trip at every window.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Why there is no channel to a local socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {path}", path = path.display())]
pub struct ChannelError {
    /// The socket.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl ChannelError {
    /// Returns whether nobody listens there, as opposed to any other failure.
    #[must_use]
    pub fn nobody_listens(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    }
}

/// Connects to the gRPC server on the local socket at `path`. The channel
/// connects again by itself when the connection is lost.
///
/// # Errors
///
/// [`ChannelError`] where the socket does not answer.
pub async fn channel(path: &Path) -> Result<Channel, ChannelError> {
    let failed = |source| ChannelError {
        path: path.to_owned(),
        source,
    };
    // The first connection is made here, so that its error keeps its kind.
    let mut first = Some(local::connect(path).await.map_err(failed)?);
    let path_again = path.to_owned();
    let connector = service_fn(move |_: Uri| {
        let first = first.take();
        let path = path_again.clone();
        async move {
            let stream = match first {
                Some(stream) => stream,
                None => local::connect(&path).await?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The address is never looked up: the connector knows where to go.
    Endpoint::from_static("http://wherry.localhost")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(connector)
        .await
        .map_err(|error| failed(io::Error::other(error)))
}
