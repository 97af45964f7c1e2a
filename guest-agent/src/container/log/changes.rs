//! When a log has changed, told by the kernel.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

/// Tells when a log has changed, through inotify.
#[derive(Debug)]
pub(crate) struct Changes {
    inotify: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Watches the directory of a log, in which its files come and go.
    ///
    /// # Errors
    ///
    /// Those of inotify, such as too many watches.
    pub(crate) fn of(log: &Path) -> io::Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(
            &watch,
            log.parent().unwrap_or(log),
            inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::MOVED_TO
                | inotify::WatchFlags::DELETE_SELF,
        )?;
        // SAFETY: the descriptor is owned and stays the same.
        let inotify = unsafe { AsyncFd::register(watch) }?;
        Ok(Self { inotify })
    }

    /// Returns once something has changed since the last call. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// Those of inotify.
    pub(crate) async fn next(&self) -> io::Result<()> {
        loop {
            let mut guard = self.inotify.readable().await?;
            let mut buffer = [0_u8; 4096];
            match guard.try_io(|inotify| Ok(rustix::io::read(inotify.get_ref(), &mut buffer)?)) {
                Ok(result) => return result.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}
