//! Local sockets whose connections are vsock streams to the guest.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::task::JoinSet;
use wherry_client::local::{self, LocalListener};

use crate::vm::Vm;

/// Bytes on their way in each direction of a connection.
const BUFFER: usize = 128 * 1024;

/// How long to wait when no connection can be accepted, for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Listens at `path`, and serves until the returned task is dropped.
pub(super) async fn listen(path: &Path, vm: &Arc<dyn Vm>, port: u32) -> io::Result<JoinSet<()>> {
    let listener = local::listen(path).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, Arc::downgrade(vm), port));
    Ok(tasks)
}

async fn serve(listener: LocalListener, vm: Weak<dyn Vm>, port: u32) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let local = match accepted {
            Ok(local) => local,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the guest");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Some(vm) = vm.upgrade() else { return };
        let guest = vm.connect(port);
        drop(vm);
        connections.spawn(async move {
            let carried = match guest.await {
                Ok(guest) => carry(local, guest).await,
                Err(error) => Err(error),
            };
            if let Err(error) = carried {
                tracing::debug!(port, %error, "a connection to the guest broke");
            }
        });
    }
}

/// Carries bytes both ways until both ends have ended. An end on one side ends
/// only that direction; a failure breaks both.
pub(super) async fn carry(
    mut local: impl AsyncRead + AsyncWrite + Unpin,
    mut guest: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    copy_bidirectional_with_sizes(&mut local, &mut guest, BUFFER, BUFFER).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn a_request_ended_early_still_gets_its_whole_reply() {
        let (mut client, near) = duplex(1024);
        let (far, mut server) = duplex(1024);
        let relay = tokio::spawn(carry(near, far));
        let serving = tokio::spawn(async move {
            let mut request = Vec::new();
            server.read_to_end(&mut request).await.unwrap();
            server.write_all(&vec![b'r'; 1 << 20]).await.unwrap();
            request
        });
        client.write_all(b"request").await.unwrap();
        client.shutdown().await.unwrap();
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).await.unwrap();
        assert_eq!(reply.len(), 1 << 20);
        assert_eq!(serving.await.unwrap(), b"request");
        relay.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_reply_ended_first_leaves_the_request_going() {
        let (mut client, near) = duplex(1024);
        let (far, mut server) = duplex(1024);
        let relay = tokio::spawn(carry(near, far));
        server.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        client.write_all(b"still here").await.unwrap();
        client.shutdown().await.unwrap();
        let mut request = Vec::new();
        server.read_to_end(&mut request).await.unwrap();
        assert_eq!(request, b"still here");
        relay.await.unwrap().unwrap();
    }
}
