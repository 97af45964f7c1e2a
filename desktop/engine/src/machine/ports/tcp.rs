//! TCP connections as bulk streams.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use wherry_proto::WIRE_VERSION;
use wherry_proto::frame::{
    FrameError, HEADER_LENGTH, Kind, decode_header, encode_header, read_stream_reply,
    write_stream_header,
};
use wherry_proto::v1::{PortStream, StreamHeader, stream_header::Purpose};

use super::listeners::{Dial, Route};
use crate::vm::GuestStream;

/// Bytes of a frame with its header, as many as are taken from a client at a time:
/// the guest wakes for whole frames.
const FROM_CLIENT: usize = 512 * 1024;

thread_local! {
    /// One for each thread and not for each connection: nothing stays in it while a
    /// connection waits.
    static FRAME: RefCell<Box<[u8]>> = RefCell::new(vec![0; FROM_CLIENT].into_boxed_slice());
}

/// Bytes taken from the guest at a time.
const FROM_GUEST: usize = 128 * 1024;

/// How long to wait when no connection can be accepted, for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How long the container's side may take to connect.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// Pauses between attempts to open a stream, which double: five, 3 s together.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_millis(3200);

/// Why a connection did not go through.
#[derive(Debug, thiserror::Error)]
pub(super) enum PortStreamError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the guest refused: {0}")]
    Refused(String),
    #[error("a frame that has no place in a port connection")]
    Unexpected,
}

/// Accepts connections until it is aborted; they go on after that.
pub(super) async fn serve(listener: TcpListener, route: Route) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let route = route.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = route.end.cancelled() => reset(&client),
                        () = connect(&client, &route) => {}
                    }
                });
            }
            // What was wrong with one connection, accept(2), is not wrong with
            // the next.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, port = route.target.port, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connect(client: &TcpStream, route: &Route) {
    let _ = client.set_nodelay(true);
    let opened = open_patiently(&route.dial, &route.target);
    let opened = tokio::time::timeout(CONNECT_DEADLINE, opened).await;
    let carried = match opened {
        Ok(Ok(guest)) => carry(client, guest).await,
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    };
    if let Err(error) = carried {
        tracing::debug!(container = route.target.container, port = route.target.port, %error,
            "a published port's connection ended early");
        reset(client);
    }
}

/// Opens the stream for one connection, again where the guest is too busy to
/// take it, or its agent is just being started anew. Nothing of the client's has
/// been sent until then.
async fn open_patiently(
    dial: &Dial,
    target: &PortStream,
) -> Result<Box<dyn GuestStream>, PortStreamError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match open(dial, target).await {
            Err(PortStreamError::Io(_) | PortStreamError::Frame(FrameError::CutOff))
                if pause < LAST_PAUSE =>
            {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            opened => return opened,
        }
    }
}

/// Opens the stream for one connection.
pub(super) async fn open(
    dial: &Dial,
    target: &PortStream,
) -> Result<Box<dyn GuestStream>, PortStreamError> {
    let mut guest = dial().await?;
    let header = StreamHeader {
        wire_version: WIRE_VERSION,
        purpose: Some(Purpose::Port(target.clone())),
    };
    write_stream_header(&mut guest, &header).await?;
    let reply = read_stream_reply(&mut guest).await?;
    if reply.error.is_empty() {
        Ok(guest)
    } else {
        Err(PortStreamError::Refused(reply.error))
    }
}

/// Has the client see a reset instead of an orderly end when the connection is
/// dropped: what it got was cut off.
fn reset(client: &TcpStream) {
    let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
}

/// Carries bytes both ways until both sides have ended. The end of one side
/// leaves the other direction as it is.
async fn carry(client: &TcpStream, guest: Box<dyn GuestStream>) -> Result<(), PortStreamError> {
    let (from_guest, to_guest) = tokio::io::split(guest);
    tokio::try_join!(
        client_to_guest(client, to_guest),
        guest_to_client(from_guest, client)
    )?;
    Ok(())
}

async fn client_to_guest(
    client: &TcpStream,
    mut guest: impl AsyncWrite + Unpin,
) -> Result<(), PortStreamError> {
    loop {
        client.readable().await?;
        // What the stream does not take at once waits in a buffer of its own.
        let waiting = poll_fn(|context| Poll::Ready(pass_on(client, &mut guest, context))).await?;
        match waiting {
            Some(waiting) => guest.write_all(&waiting).await?,
            None => {
                guest.write_all(&encode_header(Kind::End, 0)).await?;
                guest.shutdown().await?;
                return Ok(());
            }
        }
    }
}

/// Writes what the client has sent as a frame. Returns what of that is still to be
/// written, nothing if the client has ended.
fn pass_on(
    client: &TcpStream,
    guest: &mut (impl AsyncWrite + Unpin),
    context: &mut Context<'_>,
) -> io::Result<Option<Vec<u8>>> {
    FRAME.with_borrow_mut(|buffer| {
        // The header goes before the bytes, so that both are one write.
        let count = match client.try_read(&mut buffer[HEADER_LENGTH..]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Vec::new())),
            Ok(0) => return Ok(None),
            read => read?,
        };
        // Less than a frame's limit.
        buffer[..HEADER_LENGTH].copy_from_slice(&encode_header(Kind::Data, count as u32));
        let frame = &buffer[..HEADER_LENGTH + count];
        let written = match Pin::new(guest).poll_write(context, frame) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        Ok(Some(frame[written..].to_vec()))
    })
}

async fn guest_to_client(
    guest: impl AsyncRead + Unpin,
    client: &TcpStream,
) -> Result<(), PortStreamError> {
    let mut guest = BufReader::with_capacity(FROM_GUEST, guest);
    loop {
        let mut header = [0; HEADER_LENGTH];
        guest.read_exact(&mut header).await.map_err(cut_off)?;
        let (kind, mut length) = decode_header(header)?;
        match kind {
            Kind::Data => {}
            Kind::End => {
                SockRef::from(client).shutdown(std::net::Shutdown::Write)?;
                return Ok(());
            }
            _ => return Err(PortStreamError::Unexpected),
        }
        while length > 0 {
            let bytes = guest.fill_buf().await?;
            if bytes.is_empty() {
                return Err(FrameError::CutOff.into());
            }
            let count = bytes.len().min(length);
            write_all(client, &bytes[..count]).await?;
            guest.consume(count);
            length -= count;
        }
    }
}

fn cut_off(error: io::Error) -> PortStreamError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        FrameError::CutOff.into()
    } else {
        error.into()
    }
}

// A `&TcpStream` writes without the lock that splitting it would take.

async fn write_all(client: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match client.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => client.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
