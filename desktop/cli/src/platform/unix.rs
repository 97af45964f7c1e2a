//! Linux and macOS: signals.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Notices, Signal};

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
