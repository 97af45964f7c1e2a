//! Unix sockets.

use std::io;
use std::os::fd::AsFd;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use super::LocalStream;

/// How long the other side may take to read what it is waited for.
const READ_DEADLINE: Duration = Duration::from_secs(1);

/// Between two looks at it.
const READ_POLL: Duration = Duration::from_millis(1);

pub(super) type Inner = UnixStream;

/// A listening local socket. Its file stays when it is dropped: whoever listens
/// next replaces it.
#[derive(Debug)]
pub struct LocalListener(UnixListener);

impl LocalListener {
    /// Waits for the next connection. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// What accept(2) reports, such as too many open files.
    pub async fn accept(&self) -> io::Result<LocalStream> {
        let (stream, _) = self.0.accept().await?;
        Ok(LocalStream(stream))
    }
}

/// Tells when the other side of a connection has gone altogether.
#[derive(Clone, Debug)]
pub struct Hangup(Arc<UnixStream>);

impl Hangup {
    /// Waits until the other side has closed the connection, not only ended its
    /// sending. Cancellation-safe.
    pub async fn wait(&self) {
        while let Ok(ready) = self.0.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            // Nothing is written here: on to the next change.
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.0.try_io(Interest::WRITABLE, nothing);
        }
    }
}

impl Hangup {
    /// Waits until the other side has read all that was sent to it, a second at
    /// most. Returns at once where the system cannot tell.
    pub async fn read_by_other(&self) {
        let deadline = Instant::now() + READ_DEADLINE;
        while unread(&self.0) > 0 && Instant::now() < deadline {
            tokio::time::sleep(READ_POLL).await;
        }
    }
}

/// Returns what the other side has not read yet, in bytes of the kernel's buffers.
#[cfg(target_os = "linux")]
fn unread(stream: &UnixStream) -> libc::c_int {
    let mut bytes = 0;
    // SAFETY: the request writes one int (unix(7), SIOCOUTQ, which has this number),
    // and the descriptor is open.
    match unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } {
        0 => bytes,
        _ => 0,
    }
}

#[cfg(not(target_os = "linux"))]
fn unread(_: &UnixStream) -> libc::c_int {
    0
}

impl LocalStream {
    /// Returns what tells of the other side's going. It keeps the socket open.
    ///
    /// # Errors
    ///
    /// Where there are no descriptors left.
    pub fn hangup(&self) -> io::Result<Hangup> {
        let descriptor = self.0.as_fd().try_clone_to_owned()?;
        let watched = UnixStream::from_std(descriptor.into())?;
        Ok(Hangup(Arc::new(watched)))
    }

    /// Tells whether the other side runs as this process's user, or as root.
    ///
    /// # Errors
    ///
    /// Where the system cannot tell.
    pub fn is_from_this_user(&self) -> io::Result<bool> {
        let peer = self.0.peer_cred()?.uid();
        Ok(peer == 0 || peer == rustix::process::geteuid().as_raw())
    }

    /// Returns the Unix socket itself, for what only it can do.
    #[must_use]
    pub fn into_unix(self) -> UnixStream {
        self.0
    }
}

impl From<UnixStream> for LocalStream {
    fn from(stream: UnixStream) -> Self {
        Self(stream)
    }
}

pub(super) fn docker_host(path: &Path) -> String {
    format!("unix://{}", path.display())
}

pub(super) async fn connect(path: &Path) -> io::Result<Inner> {
    UnixStream::connect(path).await
}

pub(super) async fn listen(path: &Path) -> io::Result<LocalListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_if_stale(path, error).await?;
            UnixListener::bind(path)?
        }
        result => result?,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(LocalListener(listener))
}

/// Removes the socket at `path` where nobody listens on it any more, and fails
/// with `taken` where it is something else.
async fn remove_if_stale(path: &Path, taken: io::Error) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(taken);
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Err(taken),
    }
}
