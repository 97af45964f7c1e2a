//! Bulk streams: one connection for each, dispatched by its header.

mod archive;
mod bytes;
mod datagrams;
mod engine;
mod files;
mod logs;
mod port;
mod save;
mod sending;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Status};
use wherry_proto::WIRE_VERSION;
use wherry_proto::frame::{Kind, read_stream_header, write_frame, write_stream_reply};
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{AttachStream, ExecStream, StreamHeader, StreamReply};

use super::{Agent, Connection};
use crate::container::Error;
use crate::runtime::AttachOptions;

/// How long the host may take to send a stream's header.
const HEADER_PATIENCE: Duration = Duration::from_secs(30);

/// Serves every bulk stream, each on a task of its own, until the agent ends.
pub(super) async fn serve(
    agent: Arc<Agent>,
    mut connections: impl Stream<Item = std::io::Result<Connection>> + Unpin,
) {
    let mut ending = agent.ending.subscribe();
    loop {
        let connection = tokio::select! {
            connection = connections.next() => connection,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        match connection {
            Some(Ok(connection)) => {
                tokio::spawn(stream(agent.clone(), connection));
            }
            Some(Err(_)) => {}
            None => return,
        }
    }
}

async fn stream(agent: Arc<Agent>, mut connection: Connection) {
    let header = match timeout(HEADER_PATIENCE, read_stream_header(&mut connection)).await {
        Ok(Ok(header)) => header,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a stream without a header");
            return;
        }
        Err(_) => return,
    };
    if let Err(error) = dispatch(&agent, header, connection).await {
        // A client that went away is no fault of ours.
        tracing::debug!(%error, "a stream broke");
    }
}

async fn dispatch(
    agent: &Arc<Agent>,
    header: StreamHeader,
    mut connection: Connection,
) -> std::io::Result<()> {
    if header.wire_version != WIRE_VERSION {
        let message = format!(
            "the host speaks version {} of the wire, the guest {WIRE_VERSION}: restart the machine",
            header.wire_version
        );
        return refuse(&mut connection, &Status::failed_precondition(message)).await;
    }
    match header.purpose {
        Some(Purpose::Attach(request)) => attach(agent, request, connection).await,
        Some(Purpose::Exec(request)) => exec(agent, request, connection).await,
        Some(Purpose::Logs(request)) => logs::serve(agent, request, connection).await,
        Some(Purpose::Load(_)) => archive::load(agent, connection).await,
        Some(Purpose::Import(request)) => archive::import(agent, request, connection).await,
        Some(Purpose::Port(request)) => port::serve(agent, request, connection).await,
        Some(Purpose::Engine(request)) => engine::serve(agent, request, connection).await,
        Some(Purpose::CopyOut(request)) => files::copy_out(agent, request, connection).await,
        Some(Purpose::CopyIn(request)) => files::copy_in(agent, request, connection).await,
        Some(Purpose::Export(request)) => files::export(agent, request, connection).await,
        Some(Purpose::Save(request)) => save::serve(agent, request, connection).await,
        None => {
            let status = Status::unimplemented("a bulk stream of a kind this guest does not know");
            refuse(&mut connection, &status).await
        }
    }
}

async fn attach(
    agent: &Arc<Agent>,
    request: AttachStream,
    connection: Connection,
) -> std::io::Result<()> {
    let options = AttachOptions {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        logs: request.logs,
    };
    // The shim answers, and serves the stream from here on.
    match agent
        .containers
        .attach(&request.container, options, connection)
        .await
    {
        Ok(()) => Ok(()),
        Err((error, mut connection)) => refuse(&mut connection, &error.into()).await,
    }
}

async fn exec(
    agent: &Arc<Agent>,
    request: ExecStream,
    mut connection: Connection,
) -> std::io::Result<()> {
    let stream = (!request.detach).then_some(&connection);
    match agent.containers.start_exec(&request.exec, stream).await {
        Ok(()) if request.detach => {
            accept(&mut connection).await?;
            write_frame(&mut connection, Kind::End, &[]).await
        }
        Ok(()) => Ok(()),
        Err(error) => refuse(&mut connection, &error.into()).await,
    }
}

/// Answers that the stream is accepted.
async fn accept(connection: &mut Connection) -> std::io::Result<()> {
    write_stream_reply(connection, &StreamReply::default()).await
}

/// Answers why the stream is not accepted.
async fn refuse(connection: &mut Connection, status: &Status) -> std::io::Result<()> {
    write_stream_reply(connection, &failure(status)).await
}

/// Returns a failure as it goes over a bulk stream.
fn failure(status: &Status) -> StreamReply {
    let message = match status.message() {
        // An empty message would read as accepted.
        "" => "the guest failed without saying why",
        message => message,
    };
    StreamReply {
        error: message.to_owned(),
        code: match status.code() {
            Code::Ok => Code::Unknown as i32,
            code => code as i32,
        },
    }
}

impl From<&Error> for StreamReply {
    fn from(error: &Error) -> Self {
        failure(&Status::new(error.code(), error.to_string()))
    }
}
