//! Archives to the host.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Status;
use wherry_proto::frame::{Kind, write_bytes, write_frame};
use wherry_proto::v1::SaveStream;

use super::{Agent, Connection, accept, failure, refuse};

/// Bytes of one piece.
const PIECE: usize = 256 * 1024;
/// Pieces between the store and the stream.
const PIECES: usize = 4;

/// Sends an archive of images. A client that vanishes ends the writing.
pub(super) async fn serve(
    agent: &Arc<Agent>,
    request: SaveStream,
    mut connection: Connection,
) -> io::Result<()> {
    if request.images.is_empty() {
        let status = Status::invalid_argument("a save needs an image");
        return refuse(&mut connection, &status).await;
    }
    let store = agent.images.clone();
    let found = tokio::task::spawn_blocking(move || store.find_to_save(&request.images)).await;
    let saving = match found {
        Ok(Ok(saving)) => saving,
        Ok(Err(error)) => return refuse(&mut connection, &error.into()).await,
        Err(error) => {
            let status = Status::internal(format!("an internal task failed: {error}"));
            return refuse(&mut connection, &status).await;
        }
    };
    accept(&mut connection).await?;
    let (sender, mut receiver) = mpsc::channel(PIECES);
    let store = agent.images.clone();
    let work = tokio::task::spawn_blocking(move || {
        let pieces = Pieces {
            sender,
            piece: Vec::with_capacity(PIECE),
        };
        store.save(&saving, pieces)
    });
    while let Some(piece) = receiver.recv().await {
        write_bytes(&mut connection, Kind::Data, &piece).await?;
    }
    match work.await {
        Ok(Ok(())) => write_frame(&mut connection, Kind::End, &[]).await,
        Ok(Err(error)) => fail(&mut connection, &error.into()).await,
        Err(error) => {
            let status = Status::internal(format!("an internal task failed: {error}"));
            fail(&mut connection, &status).await
        }
    }
}

async fn fail(connection: &mut Connection, status: &Status) -> io::Result<()> {
    let reply = prost::Message::encode_to_vec(&failure(status));
    write_frame(connection, Kind::Failure, &reply).await?;
    write_frame(connection, Kind::End, &[]).await
}

/// Gathers small writes to pieces.
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
