//! Serves the device on a vhost-user socket.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

use tokio::sync::watch;
use tracing::{debug, warn};
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::poll::PollContext;

use super::backend::Backend;
use crate::connector::Connector;
use crate::table::Table;

/// Why the device could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be made.
    #[error("cannot listen for QEMU on {path}")]
    Listen {
        /// The socket's path.
        path: PathBuf,
        /// What the vhost-user library says.
        source: vhost::vhost_user::Error,
    },
    /// The guest's context identifier is reserved.
    #[error("{0} cannot be the context identifier of a guest: choose one from 3 to 4294967294")]
    GuestCid(u64),
    /// The system refuses an event or a thread.
    #[error("cannot set up the vsock device")]
    System(#[from] io::Error),
    /// The vhost-user library refuses to start.
    #[error("cannot set up the vsock device: {0}")]
    Backend(vhost_user_backend::Error),
}

/// A virtio-vsock device, served on a vhost-user socket.
///
/// It serves one connection of QEMU (`-chardev socket,id=vsock,path=…
/// -device vhost-user-vsock-pci,chardev=vsock`) until QEMU ends, even when this
/// value is dropped before. Dropped before QEMU has connected, it stops waiting.
#[derive(Debug)]
pub struct VsockDevice {
    pub(super) ended: watch::Receiver<bool>,
    stop: EventFd,
}

impl VsockDevice {
    /// Starts serving a vhost-user socket, to which QEMU connects. What stands
    /// at the path is replaced. `guest_cid` is the guest's context identifier.
    pub fn start(socket: &Path, guest_cid: u64) -> Result<(Self, Connector), Error> {
        if !(3..u64::from(u32::MAX)).contains(&guest_cid) {
            return Err(Error::GuestCid(guest_cid));
        }
        let listener = Listener::new(socket, true).map_err(|source| Error::Listen {
            path: socket.to_owned(),
            source,
        })?;
        let call = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let called: Arc<OnceLock<Weak<Backend>>> = Arc::default();
        let caller = called.clone();
        let table = Arc::new(Table::new(Box::new(move || {
            if let Some(backend) = caller.get().and_then(Weak::upgrade) {
                backend.attend();
            }
        })));
        let stop = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let (end, ended) = watch::channel(false);

        let mem = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let backend = Arc::new(Backend::new(table.clone(), call, mem.clone(), guest_cid)?);
        // Nobody can call before: the connector comes last.
        let _ = called.set(Arc::downgrade(&backend));
        let daemon = VhostUserDaemon::new("vsock".to_owned(), backend.clone(), mem)
            .map_err(Error::Backend)?;
        for events in daemon.get_epoll_handlers() {
            backend.register(&events)?;
        }
        let serving = table.clone();
        thread::Builder::new()
            .name("vsock-serve".to_owned())
            .spawn(move || {
                serve(daemon, listener, &stopped);
                serving.shut_down();
                end.send_replace(true);
            })?;
        Ok((Self { ended, stop }, Connector::new(table)))
    }

    /// Waits until QEMU has disconnected. Every stream has failed by then.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The sender goes only after it has sent, or with its thread.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for VsockDevice {
    fn drop(&mut self) {
        if let Err(error) = self.stop.write(1) {
            warn!(%error, "could not stop waiting for QEMU");
        }
    }
}

const CONNECTED: u32 = 0;
const STOPPED: u32 = 1;

/// Waits for QEMU and serves it until it disconnects.
fn serve(mut daemon: VhostUserDaemon<Arc<Backend>>, mut listener: Listener, stop: &EventFd) {
    match wait_for_connection(&listener, stop) {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            warn!(%error, "cannot wait for QEMU on the vsock socket");
            return;
        }
    }
    if let Err(error) = daemon.start(&mut listener) {
        warn!(%error, "cannot accept QEMU on the vsock socket");
        return;
    }
    drop(listener);
    // The library reports every disconnection as one error or another.
    if let Err(error) = daemon.wait() {
        debug!(%error, "QEMU disconnected from the vsock socket");
    }
}

/// Returns true when QEMU waits to be accepted, false when told to stop.
fn wait_for_connection(listener: &Listener, stop: &EventFd) -> io::Result<bool> {
    let events = PollContext::<u32>::new()?;
    events.add(&listener.as_raw_fd(), CONNECTED)?;
    events.add(&stop.as_raw_fd(), STOPPED)?;
    let ready = events.wait()?;
    Ok(ready
        .iter_readable()
        .all(|event| event.token() == CONNECTED))
}
