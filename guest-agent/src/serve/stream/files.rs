//! A container's files to the host and from it, as tar.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tonic::Status;
use wherry_proto::frame::{Kind, write_bytes, write_frame};
use wherry_proto::v1::{CopyInStream, CopyOutStream, ExportStream};

use super::archive::{Archive, FRAMES, drain, feed};
use super::{Agent, Connection, accept, failure};
use crate::container::{CopyInOptions, Error};

/// Bytes of one piece.
const PIECE: usize = 256 * 1024;

/// Sends what a path of a container refers to.
pub(super) async fn copy_out(
    agent: &Arc<Agent>,
    request: CopyOutStream,
    connection: Connection,
) -> io::Result<()> {
    let containers = agent.containers.clone();
    send(connection, |sink| async move {
        containers.copy_out(request, sink).await
    })
    .await
}

/// Sends a container's whole file system.
pub(super) async fn export(
    agent: &Arc<Agent>,
    request: ExportStream,
    connection: Connection,
) -> io::Result<()> {
    let containers = agent.containers.clone();
    send(connection, |sink| async move {
        containers.export(&request.container, sink).await
    })
    .await
}

/// Unpacks what the host sends.
pub(super) async fn copy_in(
    agent: &Arc<Agent>,
    request: CopyInStream,
    mut connection: Connection,
) -> io::Result<()> {
    accept(&mut connection).await?;
    let (from_host, mut to_host) = tokio::io::split(connection);
    let (sender, receiver) = mpsc::channel(FRAMES);
    // Ends by itself: with the archive, the connection or the reader's interest.
    let feeding = tokio::spawn(feed(from_host, sender));
    let options = CopyInOptions {
        container: request.container,
        path: request.path,
        overwrite: request.overwrite,
        users_own: request.users_own,
    };
    let result = agent
        .containers
        .copy_in(options, Archive::new(receiver))
        .await;
    let answered = end(&mut to_host, result).await;
    drain(feeding, answered.is_ok()).await;
    answered
}

/// Sends what some work writes. A client that vanishes ends the work.
async fn send<Work, Done>(mut connection: Connection, work: Work) -> io::Result<()>
where
    Work: FnOnce(Pieces) -> Done,
    Done: Future<Output = Result<(), Error>> + Send + 'static,
{
    accept(&mut connection).await?;
    let (sender, mut receiver) = mpsc::channel(FRAMES);
    let sink = Pieces {
        sender,
        piece: Vec::with_capacity(PIECE),
    };
    let work = tokio::spawn(work(sink));
    while let Some(piece) = receiver.recv().await {
        write_bytes(&mut connection, Kind::Data, &piece).await?;
    }
    let result = work
        .await
        .unwrap_or_else(|error| Err(Error::Internal(format!("an internal task failed: {error}"))));
    end(&mut connection, result).await
}

/// Ends a stream, with a failure where there was one.
async fn end(
    connection: &mut (impl tokio::io::AsyncWrite + Unpin),
    result: Result<(), Error>,
) -> io::Result<()> {
    if let Err(error) = result {
        let reply = failure(&Status::from(error));
        write_frame(connection, Kind::Failure, &reply.encode_to_vec()).await?;
    }
    write_frame(connection, Kind::End, &[]).await
}

/// Gathers small writes to pieces; the last goes with a flush.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender
            .blocking_send(piece.into())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
