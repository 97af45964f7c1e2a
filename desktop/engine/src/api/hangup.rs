//! How a connection tells that its client has gone.

use std::io;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::TcpStream;
use wherry_client::local;

/// Tells when a client has gone altogether, whichever way it came.
#[derive(Clone, Debug)]
pub(super) enum Hangup {
    Local(local::Hangup),
    Tcp(Arc<TcpStream>),
}

impl Hangup {
    /// Returns what tells of a TCP client's going: that the connection broke, or
    /// that nobody answers on it (keep-alive). One that has only ended its sending
    /// looks on TCP like one that closed.
    pub(super) fn of_tcp(stream: TcpStream) -> io::Result<(TcpStream, Self)> {
        let stream = stream.into_std()?;
        let watched = TcpStream::from_std(stream.try_clone()?)?;
        Ok((TcpStream::from_std(stream)?, Self::Tcp(Arc::new(watched))))
    }

    /// Waits until the client has gone. Cancellation-safe.
    pub(super) async fn wait(&self) {
        let stream = match self {
            Self::Local(hangup) => return hangup.wait().await,
            Self::Tcp(stream) => stream,
        };
        while let Ok(ready) = stream.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            // Nothing is written here: on to the next change.
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = stream.try_io(Interest::WRITABLE, nothing);
        }
    }

    /// Waits until the client has read all that was sent to it, where the system
    /// can tell: TCP knows no more than that its computer has it.
    pub(super) async fn read_by_other(&self) {
        if let Self::Local(hangup) = self {
            hangup.read_by_other().await;
        }
    }
}
