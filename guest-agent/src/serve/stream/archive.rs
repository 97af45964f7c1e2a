//! Archives from the host: images to load, root file systems to import.
//!
//! The image store reads on a thread that may block, from a channel that holds
//! a few frames: a store that falls behind slows the host down, and holds up
//! no other stream. A client that vanishes ends the archive early, which the
//! store takes back like any broken archive.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;
use wherry_proto::frame::{Kind, read_frame, write_frame};
use wherry_proto::v1::{ImportStream, LoadResult, Progress};

use super::{Agent, Connection, accept, failure};
use crate::image::{Error, ImageRecord, ImportOptions};

/// Frames between the stream and the store.
pub(super) const FRAMES: usize = 4;

/// The least time between two Progress frames of one stage and subject.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// Takes in the images of an archive.
pub(super) async fn load(agent: &Arc<Agent>, connection: Connection) -> io::Result<()> {
    let store = agent.images.clone();
    run(agent, "load", connection, move |archive, progress| {
        store.load(archive, progress)
    })
    .await
}

/// Makes an image of a root file system.
pub(super) async fn import(
    agent: &Arc<Agent>,
    request: ImportStream,
    connection: Connection,
) -> io::Result<()> {
    let store = agent.images.clone();
    let options = ImportOptions {
        tag: request.tag,
        changes: request.changes,
        message: request.message,
    };
    run(agent, "import", connection, move |archive, progress| {
        store
            .import(archive, &options, progress)
            .map(|image| vec![image])
    })
    .await
}

async fn run<W>(
    agent: &Arc<Agent>,
    action: &str,
    mut connection: Connection,
    work: W,
) -> io::Result<()>
where
    W: FnOnce(Archive, &mut dyn FnMut(Progress)) -> Result<Vec<ImageRecord>, Error>
        + Send
        + 'static,
{
    accept(&mut connection).await?;
    let (from_host, mut to_host) = tokio::io::split(connection);
    let (sender, receiver) = mpsc::channel(FRAMES);
    let (progress_sender, mut progress) = mpsc::channel(8);
    let mut work = tokio::task::spawn_blocking(move || {
        let archive = Archive::new(receiver);
        let mut throttle = Throttle {
            sender: progress_sender,
            last: None,
        };
        work(archive, &mut |progress| throttle.report(progress))
    });
    // Ends by itself: with the archive, the connection or the store's interest.
    let feeding = tokio::spawn(feed(from_host, sender));
    let result = loop {
        tokio::select! {
            Some(progress) = progress.recv() => {
                // A client that went away is noticed by the other half.
                let _ = write_frame(&mut to_host, Kind::Progress, &progress.encode_to_vec()).await;
            }
            result = &mut work => break result,
        }
    };
    let (kind, payload) = match result {
        Ok(Ok(images)) => {
            for image in &images {
                let (id, labels) = (image.id(), &image.config.labels);
                agent.events.publish_image(action, &id, id.clone(), labels);
            }
            let images = images.iter().map(Into::into).collect();
            (Kind::Result, LoadResult { images }.encode_to_vec())
        }
        Ok(Err(error)) => (Kind::Failure, failure(&error.into()).encode_to_vec()),
        Err(error) => {
            let status = Status::internal(format!("an internal task failed: {error}"));
            (Kind::Failure, failure(&status).encode_to_vec())
        }
    };
    let written = async {
        write_frame(&mut to_host, kind, &payload).await?;
        write_frame(&mut to_host, Kind::End, &[]).await
    }
    .await;
    drain(feeding, written.is_ok()).await;
    written
}

/// Ends a [`feed`]. The host may still send what nobody wants. Reading it to its
/// end lets the host read the answer: a reset would take that from it.
pub(super) async fn drain(mut feeding: JoinHandle<()>, answered: bool) {
    if answered {
        let _ = tokio::time::timeout(Duration::from_secs(30), &mut feeding).await;
    }
    feeding.abort();
}

/// Passes frames on until the End. What the store does not want any more is
/// read and dropped.
pub(super) async fn feed(
    mut host: tokio::io::ReadHalf<Connection>,
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
) {
    let mut wanted = true;
    loop {
        let part = match read_frame(&mut host).await {
            Ok(Some(frame)) => match frame.kind {
                // An empty one says nothing; below, empty bytes are the end.
                Kind::Data if frame.payload.is_empty() => continue,
                Kind::Data => Ok(frame.payload),
                Kind::End => Ok(Bytes::new()),
                other => Err(io::Error::other(format!("an unexpected frame: {other:?}"))),
            },
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(io::Error::other(error)),
        };
        let last = part.as_ref().map_or(true, Bytes::is_empty);
        if wanted {
            wanted = sender.send(part).await.is_ok();
        }
        if last {
            return;
        }
    }
}

/// The archive as it is read.
pub(super) struct Archive {
    frames: mpsc::Receiver<Result<Bytes, io::Error>>,
    current: Bytes,
    ended: bool,
}

impl Archive {
    pub(super) fn new(frames: mpsc::Receiver<Result<Bytes, io::Error>>) -> Self {
        Self {
            frames,
            current: Bytes::new(),
            ended: false,
        }
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.current.is_empty() {
            match self.frames.blocking_recv() {
                Some(Ok(bytes)) if bytes.is_empty() => self.ended = true,
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(error)) => return Err(error),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Lets through what is new or some time after the last.
struct Throttle {
    sender: mpsc::Sender<Progress>,
    last: Option<(String, String, Instant)>,
}

impl Throttle {
    fn report(&mut self, progress: Progress) {
        if let Some((stage, subject, at)) = &self.last
            && *stage == progress.stage
            && *subject == progress.subject
            && at.elapsed() < PROGRESS_PAUSE
        {
            return;
        }
        self.last = Some((
            progress.stage.clone(),
            progress.subject.clone(),
            Instant::now(),
        ));
        // A host that does not read its progress must not stop the store.
        let _ = self.sender.try_send(progress);
    }
}
