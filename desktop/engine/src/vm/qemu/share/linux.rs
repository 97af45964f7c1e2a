//! virtio-fs over vhost-user.

use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use virtiofsd::passthrough::{CachePolicy, Config, InodeFileHandlesMode, PassthroughFs};
use virtiofsd::soft_idmap::cmdline::IdMap;
use virtiofsd::vhost_user::VhostUserFsBackendBuilder;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::vm::{Share, VmError};

/// How long the guest may take a name or attribute for true without asking
/// again. Zero, because whoever edits a file on the host expects a container to
/// see it at once. (What it costs is one round trip for each look-up.)
const VALID: Duration = Duration::ZERO;

/// Serves a folder on `socket` for as long as QEMU is connected to it, with at
/// most `open_files` descriptors. QEMU must connect: until then a thread waits.
///
/// virtiofsd confines the guest to the folder: names are looked up one at a
/// time, below a descriptor of their directory, and links are not followed. It
/// is not put into a namespace of its own, for that is made for a process which
/// does nothing else.
pub(in crate::vm::qemu) fn serve(
    share: &Share,
    socket: &Path,
    open_files: u64,
) -> Result<(), VmError> {
    let failed = |reason: String| VmError::Share {
        folder: share.folder.clone(),
        reason,
    };
    if !share.folder.is_dir() {
        return Err(failed("it is no folder".to_owned()));
    }
    let root = share
        .folder
        .to_str()
        .ok_or_else(|| failed("its path is not valid UTF-8".to_owned()))?
        .to_owned();
    let listener = listen(socket)?;
    let (sender, started) = mpsc::channel();
    let tag = share.tag.clone();
    std::thread::Builder::new()
        .name(tag.clone())
        .spawn(move || run(root, listener, open_files, &tag, &sender))
        .map_err(|error| failed(error.to_string()))?;
    match started.recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(failed(reason)),
        Err(_) => Err(failed("its server ended".to_owned())),
    }
}

fn listen(socket: &Path) -> Result<Listener, VmError> {
    // The folder that holds the socket is for its owner alone.
    Listener::new(socket, true).map_err(|error| VmError::File {
        path: socket.to_owned(),
        source: io::Error::other(error.to_string()),
    })
}

fn run(
    root: String,
    mut listener: Listener,
    open_files: u64,
    tag: &str,
    started: &mpsc::Sender<Result<(), String>>,
) {
    // PassthroughFs clears the umask and changes the working directory, which
    // all threads of a process have in common until one says otherwise. The
    // threads that serve the share are started from this one and share its.
    let own_fs = rustix::thread::UnshareFlags::FS;
    // SAFETY: only the file system context is unshared, not the descriptors, so
    // no descriptor of this thread goes out of step with the others.
    let unshared = unsafe { rustix::thread::unshare_unsafe(own_fs) };
    let built = unshared
        .map_err(|error| format!("unshare: {error}"))
        .and_then(|()| backend(root, open_files));
    let mut daemon = match built {
        Ok(daemon) => daemon,
        Err(reason) => {
            let _ = started.send(Err(reason));
            return;
        }
    };
    let _ = started.send(Ok(()));
    if let Err(error) = daemon.start(&mut listener) {
        tracing::debug!(tag, ?error, "QEMU did not connect to the share");
        return;
    }
    // The listener goes first: QEMU connects once.
    drop(listener);
    if let Err(error) = daemon.wait() {
        tracing::debug!(tag, ?error, "the share's connection ended");
    }
}

type Daemon = VhostUserDaemon<Arc<virtiofsd::vhost_user::VhostUserFsBackend<PassthroughFs>>>;

fn backend(root: String, open_files: u64) -> Result<Daemon, String> {
    let (uid_map, gid_map) = id_maps();
    let fs = PassthroughFs::new(Config {
        entry_timeout: VALID,
        attr_timeout: VALID,
        cache_policy: CachePolicy::Auto,
        root_dir: root,
        inode_file_handles: InodeFileHandlesMode::Never,
        readdirplus: true,
        // Extended attributes cost a round trip for each write, for the
        // kernel looks for capabilities to drop.
        xattr: false,
        announce_submounts: false,
        guest_fd_limit: open_files,
        uid_map,
        gid_map,
        ..Config::default()
    })
    .map_err(|error| error.to_string())?;
    let backend = VhostUserFsBackendBuilder::default()
        .build(fs)
        .map_err(|error| error.to_string())?;
    VhostUserDaemon::new(
        "virtio-fs".to_owned(),
        Arc::new(backend),
        GuestMemoryAtomic::new(GuestMemoryMmap::new()),
    )
    .map_err(|error| format!("{error:?}"))
}

/// Returns how users of guest and host correspond. Root keeps them all as they
/// are. Anybody else cannot act for others: whatever a container's user does is
/// done by the user who runs Wherry, whose files belong to the guest's root.
fn id_maps() -> (Option<Vec<IdMap>>, Option<Vec<IdMap>>) {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return (None, None);
    }
    let map = |host: u32| {
        Some(vec![
            IdMap::SquashGuest {
                from_guest: 0,
                to_host: host,
                count: u32::MAX,
            },
            IdMap::Host {
                from_host: host,
                to_guest: 0,
                count: 1,
            },
        ])
    };
    (map(uid.as_raw()), map(rustix::process::getegid().as_raw()))
}
