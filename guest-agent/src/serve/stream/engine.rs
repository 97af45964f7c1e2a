//! Connections of containers to the engine's own API.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tonic::Status;
use wherry_proto::v1::EngineStream;

use super::port::{container_to_host, host_to_container};
use super::{Agent, Connection, accept, refuse};

/// Copies between a container's connection and the host until both sides are done.
pub(super) async fn serve(
    agent: &Arc<Agent>,
    request: EngineStream,
    mut connection: Connection,
) -> io::Result<()> {
    let Some((container, _place)) = agent.engine.take(request.connection) else {
        let status = Status::not_found("there is no such connection of a container any more");
        return refuse(&mut connection, &status).await;
    };
    accept(&mut connection).await?;
    carry(connection, container).await
}

/// Passes on each end of input by itself. A container that has gone altogether
/// closes the stream, without the host's `End`: what the host does for it is over.
async fn carry(connection: Connection, container: UnixStream) -> io::Result<()> {
    let container = container.into_std()?;
    let watched = UnixStream::from_std(container.try_clone()?)?;
    let mut container = UnixStream::from_std(container)?;
    let (from_host, to_host) = tokio::io::split(connection);
    let (from_container, to_container) = container.split();
    let mut down = pin!(host_to_container(from_host, to_container));
    let mut up = pin!(container_to_host(from_container, to_host));
    tokio::select! {
        ended = &mut down => {
            ended?;
            up.await
        }
        ended = &mut up => {
            ended?;
            tokio::select! {
                ended = down => ended,
                () = gone(&watched) => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }
}

/// Returns when the other side has closed the connection, and not only ended its
/// sending.
async fn gone(stream: &UnixStream) {
    while let Ok(ready) = stream.ready(Interest::WRITABLE).await {
        if ready.is_write_closed() {
            return;
        }
        // Nothing is written here: on to the next change.
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = stream.try_io(Interest::WRITABLE, nothing);
    }
}
