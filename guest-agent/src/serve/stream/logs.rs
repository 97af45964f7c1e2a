//! Streams of a container's log.

use std::io;
use std::sync::Arc;

use tonic::Status;
use wherry_proto::frame::{Kind, MAX_PAYLOAD, write_bytes, write_frame};
use wherry_proto::v1::LogsStream;

use super::{Agent, Connection, accept, refuse};
use crate::container::{Changes, Entry, LogReader, Status as ContainerStatus, keeps_log};

/// Bytes of one stream's lines that go out as one frame.
const BATCH: usize = 64 * 1024;

/// Sends what a container wrote, and with `follow` what it goes on to write
/// until it has ended.
pub(super) async fn serve(
    agent: &Arc<Agent>,
    request: LogsStream,
    mut connection: Connection,
) -> io::Result<()> {
    let container = match agent.containers.find(&request.container) {
        Ok(container) => container,
        Err(error) => return refuse(&mut connection, &error.into()).await,
    };
    if !request.stdout && !request.stderr {
        let status = Status::invalid_argument("you must choose at least one stream");
        return refuse(&mut connection, &status).await;
    }
    if !keeps_log(container.record().spec.log.as_ref()) {
        let status =
            Status::failed_precondition("configured logging driver does not support reading");
        return refuse(&mut connection, &status).await;
    }
    accept(&mut connection).await?;
    let path = container.paths.log();
    let mut phase = container.watch();
    if request.follow && !path.exists() && phase.borrow().status != ContainerStatus::Running {
        return end(&mut connection).await;
    }
    let mut reader = match LogReader::open(&path, request.tail).await {
        Ok(reader) => reader,
        // It never ran, so it never wrote.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return end(&mut connection).await,
        Err(error) => return Err(error),
    };
    let changes = if request.follow {
        Some(Changes::of(&path)?)
    } else {
        None
    };
    let mut batch = Batch::default();
    loop {
        // Looked at before reading: what is written after it, is read again.
        let ended =
            phase.borrow_and_update().status != ContainerStatus::Running || phase.borrow().removed;
        while let Some(entry) = reader.next().await? {
            let written = entry.nanoseconds();
            if request.until_ns != 0 && written > request.until_ns {
                batch.flush(&mut connection).await?;
                return end(&mut connection).await;
            }
            let wanted = match entry.stream.as_str() {
                "stderr" => request.stderr,
                _ => request.stdout,
            };
            if wanted && written >= request.since_ns {
                batch
                    .add(&entry, request.timestamps, &mut connection)
                    .await?;
            }
        }
        batch.flush(&mut connection).await?;
        let Some(changes) = changes.as_ref().filter(|_| !ended) else {
            return end(&mut connection).await;
        };
        tokio::select! {
            changed = changes.next() => changed?,
            changed = phase.changed() => if changed.is_err() {
                return end(&mut connection).await;
            },
            () = connection.closed() => return Ok(()),
        }
    }
}

async fn end(connection: &mut Connection) -> io::Result<()> {
    write_frame(connection, Kind::End, &[]).await
}

/// Lines of one stream that go out together.
#[derive(Default)]
struct Batch {
    errors: bool,
    bytes: Vec<u8>,
}

impl Batch {
    async fn add(
        &mut self,
        entry: &Entry,
        timestamps: bool,
        connection: &mut Connection,
    ) -> io::Result<()> {
        let errors = entry.stream == "stderr";
        if errors != self.errors || self.bytes.len() + entry.log.len() + 64 > BATCH.min(MAX_PAYLOAD)
        {
            self.flush(connection).await?;
        }
        self.errors = errors;
        if timestamps {
            self.bytes.extend_from_slice(entry.time.as_bytes());
            self.bytes.push(b' ');
        }
        self.bytes.extend_from_slice(entry.log.as_bytes());
        Ok(())
    }

    async fn flush(&mut self, connection: &mut Connection) -> io::Result<()> {
        let kind = if self.errors {
            Kind::Stderr
        } else {
            Kind::Stdout
        };
        write_bytes(connection, kind, &self.bytes).await?;
        self.bytes.clear();
        Ok(())
    }
}
