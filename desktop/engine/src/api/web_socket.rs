//! A container's streams over a WebSocket: output in messages as it comes, output
//! and errors together, and input likewise.

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio_util::task::AbortOnDropHandle;
use wherry_client::{BulkReader, BulkStream, BulkWriter};

use super::stream::Wanted;

/// The longest message of a client, bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// Answers with the streams, in binary messages, or `text` ones as before 1.28.
pub(super) fn answer(
    upgrade: WebSocketUpgrade,
    stream: BulkStream,
    wanted: Wanted,
    text: bool,
) -> Response {
    upgrade
        .max_message_size(LONGEST)
        .on_upgrade(move |socket| join(socket, stream, wanted, text))
}

/// Moves bytes both ways until the process's output ends or the client goes.
async fn join(socket: WebSocket, stream: BulkStream, wanted: Wanted, text: bool) {
    let (mut to_client, from_client) = socket.split();
    let BulkStream { reader, writer } = stream;
    // Aborted with this task.
    let input = AbortOnDropHandle::new(tokio::spawn(input(from_client, writer, wanted.stdin)));
    tokio::select! {
        () = output(reader, &mut to_client, wanted, text) => {}
        // A client closes a WebSocket as a whole.
        _ = input => {}
    }
    // Says that it was meant, or answers the client's own close; fails where it has
    // gone.
    let _ = to_client.close().await;
}

async fn output(
    mut reader: BulkReader,
    client: &mut SplitSink<WebSocket, Message>,
    wanted: Wanted,
    text: bool,
) {
    while let Ok(Some(frame)) = reader.next().await {
        if !wanted.has_output(frame.kind) {
            continue;
        }
        let message = if text {
            Message::Text(String::from_utf8_lossy(&frame.payload).into_owned().into())
        } else {
            Message::Binary(frame.payload)
        };
        if client.send(message).await.is_err() {
            return;
        }
    }
}

/// Returns when the client has closed the socket or gone.
async fn input(mut client: SplitStream<WebSocket>, mut guest: BulkWriter, wanted: bool) {
    while let Some(Ok(message)) = client.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        if wanted && guest.send(&bytes).await.is_err() {
            return;
        }
    }
    let _ = guest.end().await;
}
