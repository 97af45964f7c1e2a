//! Bulk streams: one connection each to the guest's stream port, through the
//! machine's relay.

use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use tokio::io::{AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tonic::Code;
use wherry_proto::frame::{self, Frame, FrameError, Kind};
use wherry_proto::v1::{StreamHeader, StreamReply};

use crate::Home;
use crate::local::{self, LocalStream};

/// Enough for a terminal's output in one read; larger frames go past the buffer.
const READ_BUFFER: usize = 64 * 1024;

/// A bulk stream that the guest has accepted.
#[derive(Debug)]
pub struct BulkStream {
    /// What comes from the guest.
    pub reader: BulkReader,
    /// What goes to the guest.
    pub writer: BulkWriter,
}

/// The receiving half of a bulk stream.
#[derive(Debug)]
pub struct BulkReader(BufReader<ReadHalf<LocalStream>>);

/// The sending half of a bulk stream.
#[derive(Debug)]
pub struct BulkWriter(WriteHalf<LocalStream>);

/// Why a bulk stream could not be opened, or failed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The machine's relay does not answer.
    #[error("cannot connect to the machine at {path}: {source}; `wherry machine status` tells more", path = path.display())]
    Connect {
        /// The relay's socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The guest refused the stream, or the operation failed.
    #[error("{message}")]
    Refused {
        /// The gRPC status code that the error would have as a call.
        code: Code,
        /// What the guest says.
        message: String,
    },
    /// The connection to the guest failed.
    #[error("the connection to the machine broke: {0}")]
    Broken(#[from] FrameError),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl From<StreamReply> for StreamError {
    fn from(reply: StreamReply) -> Self {
        Self::Refused {
            code: Code::from_i32(reply.code),
            message: reply.error,
        }
    }
}

/// Opens a bulk stream to the guest of `home`'s machine, and waits until the
/// guest has accepted it.
///
/// # Errors
///
/// [`StreamError`]: nobody at the relay, refused by the guest, or broken.
pub async fn open_stream(home: &Home, header: StreamHeader) -> Result<BulkStream, StreamError> {
    open_stream_at(&home.stream_socket(), header).await
}

/// Opens a bulk stream through the local socket at `path`. The header's wire
/// version is set here.
///
/// # Errors
///
/// As [`open_stream`].
pub async fn open_stream_at(
    path: &Path,
    mut header: StreamHeader,
) -> Result<BulkStream, StreamError> {
    header.wire_version = wherry_proto::WIRE_VERSION;
    let mut stream = local::connect(path)
        .await
        .map_err(|source| StreamError::Connect {
            path: path.to_owned(),
            source,
        })?;
    frame::write_stream_header(&mut stream, &header).await?;
    let reply = frame::read_stream_reply(&mut stream).await?;
    if !reply.error.is_empty() {
        return Err(reply.into());
    }
    let (read, write) = tokio::io::split(stream);
    Ok(BulkStream {
        reader: BulkReader(BufReader::with_capacity(READ_BUFFER, read)),
        writer: BulkWriter(write),
    })
}

impl BulkReader {
    /// Returns the next frame, or `None` after the guest's `End`. A `Failure`
    /// frame comes out as an error. Not cancellation-safe.
    ///
    /// # Errors
    ///
    /// [`StreamError::Refused`] for a failure that the guest reports,
    /// [`StreamError::Broken`] for a connection that closed before its `End`.
    pub async fn next(&mut self) -> Result<Option<Frame>, StreamError> {
        let frame = frame::read_frame(&mut self.0)
            .await?
            .ok_or(FrameError::CutOff)?;
        match frame.kind {
            Kind::End => Ok(None),
            Kind::Failure => {
                let reply = StreamReply::decode(frame.payload).map_err(FrameError::Malformed)?;
                Err(reply.into())
            }
            _ => Ok(Some(frame)),
        }
    }
}

impl BulkWriter {
    /// Sends bytes as `Data` frames.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        frame::write_bytes(&mut self.0, Kind::Data, bytes).await?;
        self.0.flush().await
    }

    /// Says that no more comes from this side. The connection stays open for
    /// what the guest still sends.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn end(&mut self) -> io::Result<()> {
        frame::write_frame(&mut self.0, Kind::End, &[]).await?;
        self.0.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::{AttachStream, stream_header::Purpose};

    fn attach() -> StreamHeader {
        StreamHeader {
            wire_version: 0,
            purpose: Some(Purpose::Attach(AttachStream::default())),
        }
    }

    /// Serves one connection: reads the header, replies, then sends `frames`.
    async fn serve(
        reply: StreamReply,
        frames: &'static [(Kind, &'static [u8])],
    ) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream.sock");
        let listener = local::listen(&path).await.unwrap();
        tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap();
            let header = frame::read_stream_header(&mut stream).await.unwrap();
            assert_eq!(header.wire_version, wherry_proto::WIRE_VERSION);
            frame::write_stream_reply(&mut stream, &reply)
                .await
                .unwrap();
            for (kind, payload) in frames {
                frame::write_frame(&mut stream, *kind, payload)
                    .await
                    .unwrap();
            }
        });
        (folder, path)
    }

    #[tokio::test]
    async fn frames_come_until_the_end_of_the_guest() {
        let (_folder, path) = serve(
            StreamReply::default(),
            &[(Kind::Stdout, b"hi"), (Kind::End, b"")],
        )
        .await;
        let mut stream = open_stream_at(&path, attach()).await.unwrap();
        let frame = stream.reader.next().await.unwrap().unwrap();
        assert_eq!(
            (frame.kind, frame.payload.as_ref()),
            (Kind::Stdout, b"hi".as_ref())
        );
        assert!(stream.reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_connection_that_closes_before_its_end_is_an_error() {
        let (_folder, path) = serve(StreamReply::default(), &[(Kind::Stdout, b"hi")]).await;
        let mut stream = open_stream_at(&path, attach()).await.unwrap();
        stream.reader.next().await.unwrap();
        assert!(matches!(
            stream.reader.next().await,
            Err(StreamError::Broken(FrameError::CutOff))
        ));
    }

    #[tokio::test]
    async fn a_refusal_carries_the_guests_words_and_code() {
        let reply = StreamReply {
            error: "no such container: x".to_owned(),
            code: Code::NotFound as i32,
        };
        let (_folder, path) = serve(reply, &[]).await;
        match open_stream_at(&path, attach()).await {
            Err(StreamError::Refused { code, message }) => {
                assert_eq!(
                    (code, message.as_str()),
                    (Code::NotFound, "no such container: x")
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
