//! Connections of containers to the engine's own API.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tonic::Status;
use wherry_proto::frame::{HEADER_LENGTH, Kind, decode_header, encode_header, write_frame};
use wherry_proto::v1::EngineStream;

use super::{Agent, Connection, accept, refuse};

/// Bytes on their way in one direction of one connection.
const BUFFER: usize = 64 * 1024;

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

/// Copies the payload of Data frames, until End.
async fn host_to_container(
    mut host: impl AsyncRead + Unpin,
    mut container: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut header = [0; HEADER_LENGTH];
        host.read_exact(&mut header).await?;
        let (kind, mut left) = decode_header(header).map_err(io::Error::other)?;
        match kind {
            Kind::Data => {}
            Kind::End => return container.shutdown().await,
            other => return Err(io::Error::other(format!("an unexpected frame: {other:?}"))),
        }
        while left > 0 {
            let room = left.min(BUFFER);
            let length = host.read(&mut buffer[..room]).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            container.write_all(&buffer[..length]).await?;
            left -= length;
        }
    }
}

/// Copies what a container sends into Data frames, and its end into End.
async fn container_to_host(
    mut container: impl AsyncRead + Unpin,
    mut host: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    // The header stands before the bytes, so that both go out in one write.
    let mut buffer = vec![0; HEADER_LENGTH + BUFFER];
    loop {
        let length = container.read(&mut buffer[HEADER_LENGTH..]).await?;
        if length == 0 {
            return write_frame(&mut host, Kind::End, &[]).await;
        }
        buffer[..HEADER_LENGTH].copy_from_slice(&encode_header(Kind::Data, length as u32));
        host.write_all(&buffer[..HEADER_LENGTH + length]).await?;
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
