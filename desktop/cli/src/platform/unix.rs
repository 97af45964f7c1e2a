//! Linux and macOS: signals, and holes in files.

use std::fs::File;
use std::io;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Extents, Notices, Signal};

/// Files of more parts than this are copied with their holes as zeros: readers
/// take no more of them.
const MOST_EXTENTS: usize = 65_000;

/// Returns where a file has content; `None` for one without holes, or whose file
/// system tells of none. It is read from its beginning afterwards.
///
/// # Errors
///
/// Those of seeking in it.
pub(crate) fn extents(file: &File, size: u64) -> io::Result<Option<Extents>> {
    let (mut extents, mut position, mut stored) = (Vec::new(), 0, 0);
    while position < size && extents.len() < MOST_EXTENTS {
        let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(None),
            found => found?,
        };
        if start >= size {
            break;
        }
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        extents.push((start, end - start));
        stored += end - start;
        position = end;
    }
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    if stored == size || extents.len() >= MOST_EXTENTS {
        return Ok(None);
    }
    if extents
        .last()
        .is_none_or(|(offset, length)| offset + length < size)
    {
        extents.push((size, 0));
    }
    Ok(Some(extents))
}

/// Watches for the signals that are passed on to a container.
pub(crate) fn signals() -> io::Result<Notices<Signal>> {
    let watched = [
        ("HUP", SignalKind::hangup()),
        ("INT", SignalKind::interrupt()),
        ("QUIT", SignalKind::quit()),
        ("USR1", SignalKind::user_defined1()),
        ("USR2", SignalKind::user_defined2()),
        ("TERM", SignalKind::terminate()),
    ];
    watch(watched.map(|(name, kind)| {
        let number = u8::try_from(kind.as_raw_value()).unwrap_or(0);
        (Signal { name, number }, kind)
    }))
}

/// Watches for changes of the terminal's size.
pub(crate) fn resizes() -> io::Result<Notices<()>> {
    watch([((), SignalKind::window_change())])
}

fn watch<T: Copy + Send + 'static, const N: usize>(
    watched: [(T, SignalKind); N],
) -> io::Result<Notices<T>> {
    let (sender, receiver) = mpsc::channel(16);
    let mut watchers = JoinSet::new();
    for (notice, kind) in watched {
        let mut arrivals = signal(kind)?;
        let sender = sender.clone();
        watchers.spawn(async move {
            while arrivals.recv().await.is_some() && sender.send(notice).await.is_ok() {}
        });
    }
    Ok(Notices {
        receiver,
        _watchers: watchers,
    })
}
