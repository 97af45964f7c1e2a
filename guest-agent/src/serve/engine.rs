//! The socket by which containers that mount it reach the engine's own API. The
//! host serves that API, and opens a bulk stream for each connection.

use std::collections::HashMap;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The socket's name in the directory of what ends with the machine. PID 1 listens
/// on it, so that what containers have mounted stays good when `serve` dies.
pub(crate) const FILE: &str = "engine.sock";

/// As Docker's own: for root and its group.
pub(crate) const MODE: u32 = 0o660;

/// The connections that there may be at once; more wait to be accepted.
const MOST: usize = 256;

/// How long the host may take to open a connection's stream.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait where no connection can be accepted, for want of descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// A container's connection, and its place among those that there may be.
pub(super) type Accepted = (UnixStream, OwnedSemaphorePermit);

/// The listening socket, and the connections that no stream carries yet.
pub(super) struct EngineSocket {
    listener: UnixListener,
    places: Arc<Semaphore>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    connections: HashMap<u64, Accepted>,
}

impl EngineSocket {
    /// Takes over the socket that PID 1 listens on, or makes one where there is no
    /// such process.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or is none.
    pub(super) fn open(path: &Path, inherited: Option<i32>) -> io::Result<Self> {
        let listener = match inherited {
            Some(descriptor) => {
                // SAFETY: PID 1 opened this descriptor for this process alone and
                // named it once, on the command line.
                let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
                // Not for the children.
                rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
                std::os::unix::net::UnixListener::from(socket)
            }
            None => listen(path)?,
        };
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            places: Arc::new(Semaphore::new(MOST)),
            waiting: Arc::default(),
        })
    }

    /// Waits for a connection and returns its number. Cancellation-safe.
    pub(super) async fn accept(&self) -> u64 {
        let place = loop {
            match self.places.clone().acquire_owned().await {
                Ok(place) => break place,
                // Never closed.
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        };
        let stream = loop {
            match self.listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a container's connection to the engine");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        let number = {
            let mut waiting = self.waiting();
            waiting.last += 1;
            let number = waiting.last;
            waiting.connections.insert(number, (stream, place));
            number
        };
        let waiting = self.waiting.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.connections.remove(&number).is_some() {
                tracing::info!("the host took no notice of a container's connection to the engine");
            }
        });
        number
    }

    /// Takes the connection of a number; none where it waited too long.
    pub(super) fn take(&self, number: u64) -> Option<Accepted> {
        self.waiting().connections.remove(&number)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens on the socket at `path`, in place of what is there.
///
/// # Errors
///
/// Those of removing, binding and setting its mode.
pub(crate) fn listen(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_the_host_does_not_take_is_closed() {
        use tokio::io::AsyncReadExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = EngineSocket::open(&path, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let mut forgotten = UnixStream::connect(&path).await.unwrap();
        let number = socket.accept().await;
        assert_eq!(forgotten.read(&mut [0]).await.unwrap(), 0);
        assert!(socket.take(number).is_none());
        let _client = UnixStream::connect(&path).await.unwrap();
        let number = socket.accept().await;
        assert!(socket.take(number).is_some());
        assert!(socket.take(number).is_none());
        assert_eq!(socket.places.available_permits(), MOST);
    }
}
