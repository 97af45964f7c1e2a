//! The shim's socket from `serve`'s side: requests out, with descriptors, and
//! answers and events in.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{ControlMessage, MsgFlags, Shutdown, sendmsg, shutdown};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::{ShimError, ShimEvent, ShimEvents};
use crate::runtime::protocol::{self, Answer, Call, Failure, Reply, Request};

/// A connection, closed when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) directory: PathBuf,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    waiting: Arc<Waiting>,
}

impl Connection {
    /// Serves a socket to the shim of the container in `directory`.
    pub(super) fn new(stream: UnixStream, directory: PathBuf) -> (Self, ShimEvents) {
        let stream = Arc::new(stream);
        let (outgoing, queue) = mpsc::unbounded_channel();
        let (events, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(write_requests(Arc::clone(&stream), queue));
        tokio::spawn(read_replies(stream, Arc::clone(&waiting), events));
        let connection = Self {
            directory,
            outgoing,
            waiting,
        };
        (connection, receiver)
    }

    /// Sends a request, and returns the answer to it.
    pub(super) async fn call(
        &self,
        call: Call,
        stream: Option<BorrowedFd<'_>>,
    ) -> Result<Answer, ShimError> {
        let descriptor = stream
            .map(|stream| stream.try_clone_to_owned())
            .transpose()
            .map_err(ShimError::io("duplicating a stream for", &self.directory))?;
        let (sender, receiver) = oneshot::channel();
        let number = {
            let mut calls = self.waiting.lock();
            if calls.gone {
                return Err(ShimError::Gone);
            }
            calls.next += 1;
            let number = calls.next;
            calls.pending.insert(number, sender);
            number
        };
        let bytes = protocol::encode(&Request {
            number,
            descriptor: descriptor.is_some(),
            call,
        });
        self.outgoing
            .send(Outgoing { bytes, descriptor })
            .map_err(|_| ShimError::Gone)?;
        match receiver.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Failure { kind, message })) => Err(ShimError::Refused { kind, message }),
            Err(_) => Err(ShimError::Gone),
        }
    }
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Waiting(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    gone: bool,
    pending: HashMap<u64, oneshot::Sender<Result<Answer, Failure>>>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, number: u64, result: Result<Answer, Failure>) {
        if let Some(caller) = self.lock().pending.remove(&number) {
            // The caller may have stopped waiting.
            let _ = caller.send(result);
        }
    }

    fn end(&self) {
        let mut calls = self.lock();
        calls.gone = true;
        calls.pending.clear();
    }
}

async fn write_requests(stream: Arc<UnixStream>, mut queue: mpsc::UnboundedReceiver<Outgoing>) {
    while let Some(outgoing) = queue.recv().await {
        if write_request(&stream, outgoing).await.is_err() {
            break;
        }
    }
    // Every Shim was dropped, or the shim has gone: the reading side ends too.
    let _ = shutdown(stream.as_raw_fd(), Shutdown::Both);
}

async fn write_request(stream: &UnixStream, outgoing: Outgoing) -> io::Result<()> {
    let Outgoing {
        bytes,
        mut descriptor,
    } = outgoing;
    let mut written = 0;
    while written < bytes.len() {
        stream.writable().await?;
        let sent = stream.try_io(Interest::WRITABLE, || {
            let raw = descriptor.as_ref().map(AsRawFd::as_raw_fd);
            let control = raw.as_slice();
            let control = [ControlMessage::ScmRights(control)];
            let control = if raw.is_some() { &control[..] } else { &[] };
            let count = sendmsg::<()>(
                stream.as_raw_fd(),
                &[IoSlice::new(&bytes[written..])],
                control,
                MsgFlags::MSG_NOSIGNAL,
                None,
            )?;
            Ok(count)
        });
        match sent {
            Ok(count) => {
                written += count;
                // It went with the first byte.
                descriptor = None;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn read_replies(
    stream: Arc<UnixStream>,
    waiting: Arc<Waiting>,
    events: mpsc::UnboundedSender<ShimEvent>,
) {
    if let Err(error) = dispatch_replies(&stream, &waiting, &events).await {
        tracing::debug!(%error, "a shim's connection failed");
    }
    waiting.end();
    // The receiver may have been dropped by one who does not care.
    let _ = events.send(ShimEvent::Gone);
}

async fn dispatch_replies(
    stream: &UnixStream,
    waiting: &Waiting,
    events: &mpsc::UnboundedSender<ShimEvent>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        while let Some(message) = protocol::take(&mut buffer)? {
            let event = match serde_json::from_slice(&message)? {
                Reply::Answer { number, answer } => {
                    waiting.settle(number, Ok(answer));
                    continue;
                }
                Reply::Failure { number, failure } => {
                    waiting.settle(number, Err(failure));
                    continue;
                }
                Reply::Exited(status) => ShimEvent::Exited(status),
                Reply::ExecExited { exec, status } => ShimEvent::ExecExited { exec, status },
                Reply::OutOfMemory(kills) => ShimEvent::OutOfMemory(kills),
            };
            let _ = events.send(event);
        }
    }
}
