//! Standard streams towards clients: hijacked connections and answers of any
//! length, multiplexed where there is no terminal.

use std::io::ErrorKind;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::request::Parts;
use http::{StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_util::task::AbortOnDropHandle;
use wherry_client::{BulkReader, BulkStream, BulkWriter, StreamError};
use wherry_proto::frame::{Frame, Kind};

use super::error::{ApiError, Result};
use super::hangup::Hangup;
use super::version::{ApiVersion, OLDEST};

/// What is read of a client at once, bytes.
const READ: usize = 32 * 1024;

/// How long a client may take to close its side once the output has ended.
const LEAVING: Duration = Duration::from_secs(2);

/// The form in which a client gets a process's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Of a terminal: bytes as they come.
    Raw,
    /// Output and error apart, each piece behind a header of 8 bytes.
    Multiplexed,
    /// The same, each line a piece of its own: clients take the pieces of a log for its
    /// lines.
    Lines,
}

impl Form {
    pub(super) fn of(terminal: bool) -> Self {
        if terminal {
            Self::Raw
        } else {
            Self::Multiplexed
        }
    }

    /// Returns the form of what was logged.
    pub(super) fn of_log(terminal: bool) -> Self {
        match Self::of(terminal) {
            Self::Multiplexed => Self::Lines,
            form => form,
        }
    }

    /// Returns the content type, which tells the forms apart since 1.42.
    fn content_type(self, version: ApiVersion) -> &'static str {
        match self {
            Self::Multiplexed | Self::Lines if version >= ApiVersion::minor(42) => {
                "application/vnd.docker.multiplexed-stream"
            }
            _ => "application/vnd.docker.raw-stream",
        }
    }

    /// Returns a frame of the guest as the client reads it; `None` for what is no
    /// output.
    fn encode(self, frame: &Frame) -> Option<Bytes> {
        let stream = match frame.kind {
            Kind::Stdout | Kind::Data => 1,
            Kind::Stderr => 2,
            _ => return None,
        };
        let mut bytes = BytesMut::with_capacity(8 + frame.payload.len());
        let mut put = |piece: &[u8]| {
            bytes.put_u32(stream << 24);
            // A frame is shorter than this can tell.
            bytes.put_u32(u32::try_from(piece.len()).unwrap_or(u32::MAX));
            bytes.extend_from_slice(piece);
        };
        match self {
            Self::Raw => return Some(frame.payload.clone()),
            Self::Multiplexed => put(&frame.payload),
            Self::Lines => frame
                .payload
                .split_inclusive(|byte| *byte == b'\n')
                .for_each(put),
        }
        Some(bytes.freeze())
    }
}

/// Which of the process's streams a client asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

impl Wanted {
    /// Tells whether a frame of the guest is output that the client wants.
    pub(super) fn has_output(self, kind: Kind) -> bool {
        matches!(kind, Kind::Stdout | Kind::Data | Kind::Stderr) && self.has(kind)
    }

    fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Stderr => self.stderr,
            _ => self.stdout,
        }
    }
}

/// What happens between a process's end and the closing of its client's stream.
pub(super) type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The client's side of a process's streams.
pub(super) struct Client {
    version: ApiVersion,
    /// Where the client asked for the connection itself.
    upgrade: Option<OnUpgrade>,
    /// The input of one that did not.
    body: Body,
    hangup: Option<Hangup>,
}

impl Client {
    pub(super) fn of(parts: &Parts, upgrade: Option<OnUpgrade>, body: Body) -> Self {
        Self {
            version: ApiVersion::of(parts),
            upgrade: upgrade.filter(|_| parts.headers.contains_key(header::UPGRADE)),
            body,
            hangup: parts.extensions.get().cloned(),
        }
    }

    /// Returns the version that the content type is of: without an upgrade Docker's
    /// never tells the forms apart.
    fn hijacked_version(&self) -> ApiVersion {
        match self.upgrade {
            Some(_) => self.version,
            None => OLDEST,
        }
    }
}

/// Answers with the output of `stream` and joins its input to the client: over
/// the hijacked connection where the client asked for an upgrade, else in the
/// answer's and the request's bodies.
pub(super) fn answer(
    stream: BulkStream,
    wanted: Wanted,
    form: Form,
    client: Client,
    ending: Option<Ending>,
) -> Result<Response> {
    let content_type = form.content_type(client.hijacked_version());
    let response = Response::builder().header(header::CONTENT_TYPE, content_type);
    let Some(upgrade) = client.upgrade else {
        let BulkStream { reader, writer } = stream;
        let sending = tokio::spawn(input_of_body(client.body, writer, wanted.stdin));
        let input = Some(AbortOnDropHandle::new(sending));
        let output = output(reader, input, wanted, form, ending);
        let body = Body::from_stream(output);
        return response.body(body).map_err(ApiError::internal);
    };
    let hangup = client.hangup;
    hijack(response, upgrade, hangup.clone(), move |upgraded| {
        until_gone(hangup, join(upgraded, stream, wanted, form, ending))
    })
}

/// As [`answer`], of a stream that is opened once the client has the head of its
/// answer: some clients drop what comes together with that. As Docker: what cannot
/// be opened any more says so in the output.
pub(super) async fn answer_opening(
    opening: impl Future<Output = Result<BulkStream>> + Send + 'static,
    wanted: Wanted,
    form: Form,
    mut client: Client,
    ending: Ending,
) -> Result<Response> {
    let text = move |error: &ApiError| {
        let frame = Frame {
            kind: Kind::Stdout,
            payload: Bytes::from(format!("{}\r\n", error.message())),
        };
        form.encode(&frame).unwrap_or_default()
    };
    let content_type = form.content_type(client.hijacked_version());
    let response = Response::builder().header(header::CONTENT_TYPE, content_type);
    let Some(upgrade) = client.upgrade.take() else {
        return match opening.await {
            Ok(stream) => answer(stream, wanted, form, client, Some(ending)),
            Err(error) => {
                let body = Body::from(text(&error));
                response.body(body).map_err(ApiError::internal)
            }
        };
    };
    let hangup = client.hangup;
    hijack(
        response,
        upgrade,
        hangup.clone(),
        move |upgraded| async move {
            match opening.await {
                Ok(stream) => {
                    until_gone(hangup, join(upgraded, stream, wanted, form, Some(ending))).await
                }
                Err(error) => {
                    let (mut from, mut client) = tokio::io::split(TokioIo::new(upgraded));
                    // A client that has gone needs no text.
                    let _ = client.write_all(&text(&error)).await;
                    let _ = client.shutdown().await;
                    let drained = async {
                        let mut input = vec![0; READ];
                        while let Ok(1..) = from.read(&mut input).await {}
                    };
                    let _ = tokio::time::timeout(LEAVING, drained).await;
                }
            }
        },
    )
}

/// Serves until the client goes.
async fn until_gone(hangup: Option<Hangup>, served: impl Future<Output = ()>) {
    let Some(hangup) = hangup else {
        return served.await;
    };
    tokio::select! {
        () = served => {}
        () = hangup.wait() => {}
    }
}

/// Gives the connection away to `serve`, in the form that Docker's clients ask for,
/// once the client has read the head of the answer: docker-py drops what it reads
/// together with that.
fn hijack<Served: Future<Output = ()> + Send>(
    response: http::response::Builder,
    upgrade: OnUpgrade,
    hangup: Option<Hangup>,
    serve: impl FnOnce(Upgraded) -> Served + Send + 'static,
) -> Result<Response> {
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                if let Some(hangup) = hangup {
                    hangup.read_by_other().await;
                }
                serve(upgraded).await;
            }
            Err(error) => tracing::debug!(%error, "a client left before its streams began"),
        }
    });
    response
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "tcp")
        .body(Body::empty())
        .map_err(ApiError::internal)
}

/// Sends a request's body as a process's input.
async fn input_of_body(body: Body, mut guest: BulkWriter, wanted: bool) {
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        if wanted && guest.send(&chunk).await.is_err() {
            return;
        }
    }
    let _ = guest.end().await;
    // The connection is the output's still.
    std::future::pending::<()>().await;
}

/// Answers with output alone, such as a log.
pub(super) fn answer_output(
    stream: BulkStream,
    form: Form,
    version: ApiVersion,
) -> Result<Response> {
    let wanted = Wanted {
        stdin: false,
        stdout: true,
        stderr: true,
    };
    Response::builder()
        .header(header::CONTENT_TYPE, form.content_type(version))
        .body(Body::from_stream(output(
            stream.reader,
            None,
            wanted,
            form,
            None,
        )))
        .map_err(ApiError::internal)
}

/// Returns the output as it comes. It ends when the guest's does; a failure on
/// the way breaks the answer off, so that the client sees that it is not whole.
fn output(
    reader: BulkReader,
    input: Option<AbortOnDropHandle<()>>,
    wanted: Wanted,
    form: Form,
    ending: Option<Ending>,
) -> impl Stream<Item = std::result::Result<Bytes, StreamError>> + Send {
    let state = (reader, input, ending);
    futures_util::stream::try_unfold(state, move |(mut reader, input, ending)| async move {
        while let Some(frame) = reader.next().await? {
            if wanted.has(frame.kind)
                && let Some(bytes) = form.encode(&frame)
            {
                return Ok(Some((bytes, (reader, input, ending))));
            }
        }
        if let Some(ending) = ending {
            ending.await;
        }
        Ok(None)
    })
}

/// Moves bytes both ways until the process's output ends or the client goes.
async fn join(
    upgraded: Upgraded,
    stream: BulkStream,
    wanted: Wanted,
    form: Form,
    ending: Option<Ending>,
) {
    let (from_client, to_client) = tokio::io::split(TokioIo::new(upgraded));
    // Aborted with this task too.
    let input = tokio::spawn(input(from_client, stream.writer, wanted.stdin));
    let input = AbortOnDropHandle::new(input);
    if let Err(error) = write_output(stream.reader, to_client, wanted, form, ending).await {
        tracing::debug!(%error, "a client's streams ended early");
    }
    // Whoever still writes has nobody to read it; but where it is not read at all, the
    // client gets an error behind the output and not its end.
    let _ = tokio::time::timeout(LEAVING, input).await;
}

async fn write_output(
    mut reader: BulkReader,
    mut client: WriteHalf<TokioIo<Upgraded>>,
    wanted: Wanted,
    form: Form,
    ending: Option<Ending>,
) -> std::result::Result<(), StreamError> {
    while let Some(frame) = reader.next().await? {
        if wanted.has(frame.kind)
            && let Some(bytes) = form.encode(&frame)
        {
            client.write_all(&bytes).await?;
        }
    }
    if let Some(ending) = ending {
        ending.await;
    }
    client.shutdown().await?;
    Ok(())
}

/// Sends what the client writes; its end is the end of the input. A client that
/// wants no input is read too, for its end.
async fn input(mut client: ReadHalf<TokioIo<Upgraded>>, mut guest: BulkWriter, mut wanted: bool) {
    let mut buffer = vec![0; READ];
    loop {
        match client.read(&mut buffer).await {
            Ok(0) => break,
            Ok(read) if wanted => {
                // The process has ended, and its client may not know yet.
                wanted = guest.send(&buffer[..read]).await.is_ok();
            }
            Ok(_) => {}
            // The connection's end without TLS's: of what it sent, no more.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            // It vanished: the guest's stream closes with its halves.
            Err(_) => return,
        }
    }
    let _ = guest.end().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_without_a_terminal_are_multiplexed() {
        let frame = |kind, payload: &'static [u8]| Frame {
            kind,
            payload: Bytes::from_static(payload),
        };
        let error = Form::Multiplexed
            .encode(&frame(Kind::Stderr, b"no"))
            .unwrap();
        assert_eq!(&error[..], b"\x02\0\0\0\0\0\0\x02no");
        let lines = Form::Lines
            .encode(&frame(Kind::Stdout, b"\none\ntwo"))
            .unwrap();
        assert_eq!(
            &lines[..],
            b"\x01\0\0\0\0\0\0\x01\n\x01\0\0\0\0\0\0\x04one\n\x01\0\0\0\0\0\0\x03two"
        );
        let raw = Form::Raw.encode(&frame(Kind::Stdout, b"yes")).unwrap();
        assert_eq!(&raw[..], b"yes");
        assert_eq!(Form::Raw.encode(&frame(Kind::Exit, b"\0\0\0\0")), None);
    }

    #[test]
    fn the_content_type_tells_the_form_since_1_42() {
        let old = Form::Multiplexed.content_type(ApiVersion::minor(41));
        let new = Form::Multiplexed.content_type(ApiVersion::minor(42));
        assert!(old.ends_with("raw-stream") && new.ends_with("multiplexed-stream"));
    }
}
