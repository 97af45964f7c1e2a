//! The thread that carries the connections of all ports.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long connections have to end when the ports go.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts the thread, which goes on until `end`. Returns the runtime that it drives.
///
/// A runtime of one thread wakes nobody but itself. Among several threads each byte
/// that comes wakes one to carry it and another to look for more, which on a busy
/// host takes longer than the carrying.
pub(super) fn start(end: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("ports".to_owned())
        .spawn(move || drive(&runtime, &end))?;
    Ok(handle)
}

fn drive(runtime: &Runtime, end: &CancellationToken) {
    runtime.block_on(async {
        end.cancelled().await;
        // Each resets its client, who must not take half an answer for a whole one.
        let ended = async {
            while runtime.metrics().num_alive_tasks() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let _ = timeout(PATIENCE, ended).await;
    });
}
