//! Archives to the host, as a thread that may block writes them.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use prost::Message;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tonic::Status;
use wherry_proto::frame::{Kind, write_bytes, write_frame};

use super::archive::FRAMES;
use super::{Connection, accept, failure};

/// Bytes of one piece.
const PIECE: usize = 256 * 1024;

/// Where an archive is written; the last piece goes with a flush.
pub(super) type Sink = BufWriter<Pieces>;

/// Hands on each write as a piece.
pub(super) struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.blocking_send(Bytes::copy_from_slice(bytes)) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends what some work writes. A client that vanishes ends the work.
pub(super) async fn send<Work, Done, Error>(
    mut connection: Connection,
    work: Work,
) -> io::Result<()>
where
    Work: FnOnce(Sink) -> Done,
    Done: Future<Output = Result<(), Error>> + Send + 'static,
    Error: Into<Status> + Send + 'static,
{
    accept(&mut connection).await?;
    let (sender, mut receiver) = mpsc::channel(FRAMES);
    let sink = BufWriter::with_capacity(PIECE, Pieces(sender));
    let work = tokio::spawn(work(sink));
    while let Some(piece) = receiver.recv().await {
        write_bytes(&mut connection, Kind::Data, &piece).await?;
    }
    let result = match work.await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(Status::internal(format!(
            "an internal task failed: {error}"
        ))),
    };
    end(&mut connection, result).await
}

/// Ends a stream, with a failure where there was one.
pub(super) async fn end(
    connection: &mut (impl AsyncWrite + Unpin),
    result: Result<(), Status>,
) -> io::Result<()> {
    if let Err(status) = result {
        let reply = failure(&status);
        write_frame(connection, Kind::Failure, &reply.encode_to_vec()).await?;
    }
    write_frame(connection, Kind::End, &[]).await
}
