//! Named pipes, named for a hash of the path that the socket has elsewhere.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use interprocess::local_socket::tokio::{Listener, Stream, prelude::*};
use interprocess::local_socket::{GenericNamespaced, ListenerOptions, Name};

use super::LocalStream;

pub(super) type Inner = Stream;

/// A listening local socket.
#[derive(Debug)]
pub struct LocalListener(Listener);

impl LocalListener {
    /// Waits for the next connection. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// What the system reports.
    pub async fn accept(&self) -> io::Result<LocalStream> {
        self.0.accept().await.map(LocalStream)
    }
}

/// Tells when the other side of a connection has gone: on a pipe, reading and
/// writing do.
#[derive(Clone, Debug)]
pub struct Hangup;

impl Hangup {
    /// Returns at once: what the other side has read is not told.
    pub async fn read_by_other(&self) {}

    /// Waits for ever.
    pub async fn wait(&self) {
        std::future::pending().await
    }
}

impl LocalStream {
    /// Returns what tells of the other side's going.
    ///
    /// # Errors
    ///
    /// None.
    #[expect(clippy::unnecessary_wraps, reason = "other systems may have no means")]
    pub fn hangup(&self) -> io::Result<Hangup> {
        Ok(Hangup)
    }

    /// Tells whether the other side is this process's user: nobody else but
    /// administrators may write to a pipe of the default permissions.
    ///
    /// # Errors
    ///
    /// None.
    #[expect(clippy::unnecessary_wraps, reason = "other systems may not know")]
    pub fn is_from_this_user(&self) -> io::Result<bool> {
        Ok(true)
    }
}

pub(super) async fn connect(path: &Path) -> io::Result<Inner> {
    Stream::connect(name(path)?).await
}

pub(super) async fn listen(path: &Path) -> io::Result<LocalListener> {
    let listener = ListenerOptions::new().name(name(path)?).create_tokio()?;
    Ok(LocalListener(listener))
}

pub(super) fn docker_host(path: &Path) -> String {
    format!("npipe:////./pipe/{}", text(path))
}

fn name(path: &Path) -> io::Result<Name<'static>> {
    text(path).to_ns_name::<GenericNamespaced>()
}

/// `DefaultHasher::new` has fixed keys, so every process of one build finds the same name.
fn text(path: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    path.as_os_str().to_ascii_lowercase().hash(&mut hasher);
    let file = path.file_stem().unwrap_or_default().to_string_lossy();
    format!("wherry-{:016x}-{file}", hasher.finish())
}
