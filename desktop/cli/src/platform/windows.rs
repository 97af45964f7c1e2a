//! Windows: console events.

use std::fs::File;
use std::io;
use std::time::Duration;

use tokio::signal::windows;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Extents, Notices, Signal};

/// Holes are not looked for: every file is copied whole.
///
/// # Errors
///
/// None.
#[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
pub(crate) fn extents(_: &File, _: u64) -> io::Result<Option<Extents>> {
    Ok(None)
}

/// Between two looks at the console's size, which Windows reports only to who
/// reads its input events.
const RESIZE_POLL: Duration = Duration::from_millis(250);

/// Watches for Ctrl-C, Ctrl-Break and the closing of the console.
pub(crate) fn signals() -> io::Result<Notices<Signal>> {
    let (sender, receiver) = mpsc::channel(16);
    let mut watchers = JoinSet::new();
    let mut interrupts = windows::ctrl_c()?;
    let mut breaks = windows::ctrl_break()?;
    let mut closes = windows::ctrl_close()?;
    watchers.spawn(async move {
        loop {
            let signal = tokio::select! {
                Some(()) = interrupts.recv() => Signal { name: "INT", number: 2 },
                Some(()) = breaks.recv() => Signal { name: "QUIT", number: 3 },
                Some(()) = closes.recv() => Signal { name: "TERM", number: 15 },
                else => return,
            };
            if sender.send(signal).await.is_err() {
                return;
            }
        }
    });
    Ok(Notices {
        receiver,
        _watchers: watchers,
    })
}

/// Watches for changes of the console's size.
pub(crate) fn resizes() -> io::Result<Notices<()>> {
    let (sender, receiver) = mpsc::channel(1);
    let mut watchers = JoinSet::new();
    watchers.spawn(async move {
        let mut known = crossterm::terminal::size().ok();
        loop {
            tokio::time::sleep(RESIZE_POLL).await;
            let size = crossterm::terminal::size().ok();
            if size != known {
                known = size;
                if sender.send(()).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(Notices {
        receiver,
        _watchers: watchers,
    })
}
