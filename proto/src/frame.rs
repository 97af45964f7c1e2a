//! Frames of a bulk stream.
//!
//! A frame is one byte of [`Kind`], a 32-bit big-endian length and that many
//! bytes. Each side ends what it sends with [`Kind::End`], so the end of input
//! never rests on a half-closed socket; some platforms cannot half-close vsock.
//! A connection that closes before its `End` was cut off.

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::v1::{StreamHeader, StreamReply};

/// The most bytes one frame carries.
pub const MAX_PAYLOAD: usize = 512 * 1024;

/// Bytes before a frame's payload.
pub const HEADER_LENGTH: usize = 5;

/// The most bytes of a header or reply message.
const MAX_MESSAGE: usize = 64 * 1024;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes: standard input, an archive, one side of a port connection.
    Data = 0,
    /// Bytes of standard output, also of a terminal.
    Stdout = 1,
    /// Bytes of standard error.
    Stderr = 2,
    /// No more frames from this side. Empty.
    End = 3,
    /// The process's exit code, a 32-bit big-endian integer.
    Exit = 4,
    /// A [`crate::v1::Progress`] message.
    Progress = 5,
    /// The operation's result, a message named by the stream's purpose.
    Result = 6,
    /// The operation failed: a [`crate::v1::StreamReply`] message.
    Failure = 7,
}

impl TryFrom<u8> for Kind {
    type Error = FrameError;

    fn try_from(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte {
            0 => Self::Data,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::End,
            4 => Self::Exit,
            5 => Self::Progress,
            6 => Self::Result,
            7 => Self::Failure,
            unknown => return Err(FrameError::Kind(unknown)),
        })
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: Kind,
    /// Its bytes, at most [`MAX_PAYLOAD`].
    pub payload: Bytes,
}

/// Why a stream could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed.
    #[error("the stream broke")]
    Io(#[source] std::io::Error),
    /// The connection closed before the other side said it was done.
    #[error("the stream was cut off before its end")]
    CutOff,
    /// A frame of a kind this version does not know.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// A length above the limit.
    #[error("a message of {length} bytes, above the limit of {limit}")]
    TooLong {
        /// What the other side announced, bytes.
        length: usize,
        /// What is allowed, bytes.
        limit: usize,
    },
    /// A header or reply that is no valid message.
    #[error("a malformed message")]
    Malformed(#[from] prost::DecodeError),
}

impl From<std::io::Error> for FrameError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
        // A socket that is closed with bytes unread resets the connection.
        match error.kind() {
            ConnectionReset | UnexpectedEof => Self::CutOff,
            _ => Self::Io(error),
        }
    }
}

/// Returns the five bytes that begin a frame.
#[must_use]
pub fn encode_header(kind: Kind, length: u32) -> [u8; HEADER_LENGTH] {
    let [a, b, c, d] = length.to_be_bytes();
    [kind as u8, a, b, c, d]
}

/// Reads the kind and payload length out of a frame's first five bytes.
///
/// # Errors
///
/// [`FrameError::Kind`] or [`FrameError::TooLong`].
pub fn decode_header(header: [u8; HEADER_LENGTH]) -> Result<(Kind, usize), FrameError> {
    let [kind, a, b, c, d] = header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let kind = Kind::try_from(kind)?;
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLong {
            length,
            limit: MAX_PAYLOAD,
        });
    }
    Ok((kind, length))
}

/// Reads one frame. `None` is a connection that closed between frames.
///
/// Not cancellation-safe: a dropped call may have taken half a frame.
///
/// # Errors
///
/// Any [`FrameError`]; after one the stream is of no further use.
pub async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Frame>, FrameError> {
    let mut header = [0; HEADER_LENGTH];
    match stream.read(&mut header[..1]).await? {
        0 => return Ok(None),
        _ => read_exact(stream, &mut header[1..]).await?,
    }
    let (kind, length) = decode_header(header)?;
    let mut payload = vec![0; length];
    read_exact(stream, &mut payload).await?;
    Ok(Some(Frame {
        kind,
        payload: payload.into(),
    }))
}

/// Writes bytes as frames of `kind`, as many as they need, and none for no bytes.
///
/// # Errors
///
/// Those of the stream.
pub async fn write_bytes(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    bytes: &[u8],
) -> std::io::Result<()> {
    for chunk in bytes.chunks(MAX_PAYLOAD) {
        write_frame(stream, kind, chunk).await?;
    }
    Ok(())
}

/// Writes one frame, empty ones too.
///
/// # Errors
///
/// Those of the stream; `InvalidInput` for a payload above [`MAX_PAYLOAD`].
pub async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    payload: &[u8],
) -> std::io::Result<()> {
    if payload.len() > MAX_PAYLOAD {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "a frame's payload is too long",
        ));
    }
    let header = encode_header(kind, payload.len() as u32);
    stream.write_all(&header).await?;
    stream.write_all(payload).await
}

/// Writes the header that begins a bulk stream.
///
/// # Errors
///
/// Those of the stream.
pub async fn write_stream_header(
    stream: &mut (impl AsyncWrite + Unpin),
    header: &StreamHeader,
) -> std::io::Result<()> {
    write_message(stream, header).await
}

/// Reads the header that begins a bulk stream.
///
/// # Errors
///
/// Any [`FrameError`].
pub async fn read_stream_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<StreamHeader, FrameError> {
    read_message(stream).await
}

/// Writes the reply to a bulk stream's header.
///
/// # Errors
///
/// Those of the stream.
pub async fn write_stream_reply(
    stream: &mut (impl AsyncWrite + Unpin),
    reply: &StreamReply,
) -> std::io::Result<()> {
    write_message(stream, reply).await
}

/// Reads the reply to a bulk stream's header.
///
/// # Errors
///
/// Any [`FrameError`].
pub async fn read_stream_reply(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<StreamReply, FrameError> {
    read_message(stream).await
}

async fn write_message(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Message,
) -> std::io::Result<()> {
    let body = message.encode_to_vec();
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn read_message<M: Message + Default>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<M, FrameError> {
    let mut length = [0; 4];
    read_exact(stream, &mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(FrameError::TooLong {
            length,
            limit: MAX_MESSAGE,
        });
    }
    let mut body = vec![0; length];
    read_exact(stream, &mut body).await?;
    Ok(M::decode(body.as_slice())?)
}

async fn read_exact(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> Result<(), FrameError> {
    stream.read_exact(buffer).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    proptest! {
        #[test]
        fn frames_come_back_as_written(kind in 0u8..8, payload in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let kind = Kind::try_from(kind).unwrap();
            let frame = block_on(async {
                let mut wire = Vec::new();
                write_frame(&mut wire, kind, &payload).await.unwrap();
                read_frame(&mut wire.as_slice()).await.unwrap().unwrap()
            });
            prop_assert_eq!(frame.kind, kind);
            prop_assert_eq!(frame.payload.as_ref(), payload.as_slice());
        }

        #[test]
        fn any_bytes_end_in_frames_or_an_error(wire in proptest::collection::vec(any::<u8>(), 0..2000)) {
            block_on(async {
                let mut rest = wire.as_slice();
                while let Ok(Some(frame)) = read_frame(&mut rest).await {
                    assert!(frame.payload.len() <= MAX_PAYLOAD);
                }
                let _ = read_stream_header(&mut wire.as_slice()).await;
            });
        }
    }

    #[test]
    fn a_stream_cut_inside_a_frame_is_an_error() {
        let wire = [Kind::Stdout as u8, 0, 0, 0, 4, b'a'];
        let result = block_on(read_frame(&mut wire.as_slice()));
        assert!(matches!(result, Err(FrameError::CutOff)));
    }

    #[test]
    fn a_connection_that_is_reset_was_cut_off() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(matches!(FrameError::from(reset), FrameError::CutOff));
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_anything_is_allocated() {
        let wire = [Kind::Data as u8, 0xff, 0xff, 0xff, 0xff];
        let result = block_on(read_frame(&mut wire.as_slice()));
        assert!(matches!(result, Err(FrameError::TooLong { .. })));
    }
}
