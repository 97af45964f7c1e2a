//! A network and mount namespace for one test.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::network::netlink::{self, Link, Netlink};
use crate::network::{Network, NetworkMode, Options, SetupRequest, namespace};

/// What a test in a sandbox works with.
pub(super) struct Sandbox {
    pub(super) run: PathBuf,
}

/// Runs a test on a thread in namespaces of its own, with a runtime whose
/// threads are there too: a new thread is where the one that started it is.
/// What the test leaves ends with the namespaces. Without root nothing is
/// tested, with a word about it.
pub(super) fn sandboxed<F: Future<Output = ()>>(test: impl FnOnce(Sandbox) -> F + Send) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: making network namespaces needs root");
        return;
    }
    let folder = TempDir::new().unwrap();
    let run = folder.path().to_owned();
    thread::scope(|scope| {
        let body = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            Netlink::open()
                .unwrap()
                .execute(vec![netlink::set_up("lo")])
                .unwrap();
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(test(Sandbox { run }));
        });
        if let Err(panic) = body.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Sandbox {
    /// Returns options as a guest's, but that the uplink is left alone and
    /// queries go to `upstream`.
    pub(super) fn options(&self, upstream: &[SocketAddr]) -> Options {
        Options {
            uplink: crate::network::options::Uplink::Untouched,
            upstream: upstream.to_vec(),
            ..Options::guest(self.run.join("root"), self.run.join("run"))
        }
    }

    pub(super) fn open(&self) -> Network {
        Network::open(self.options(&[])).unwrap()
    }

    /// Waits until the kernel has removed what no container needs any more, and
    /// asserts that nothing is left.
    pub(super) async fn assert_clean(&self) {
        wait_until("the last record is removed", || {
            self.entries("network").is_empty()
        })
        .await;
        assert_eq!(self.entries("netns"), Vec::<PathBuf>::new());
        let names: Vec<_> = links().into_iter().map(|link| link.name).collect();
        assert!(
            !names.iter().any(|name| name.starts_with("veth")),
            "{names:?}"
        );
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains(&*self.run.to_string_lossy()), "{mounts}");
    }

    pub(super) fn entries(&self, folder: &str) -> Vec<PathBuf> {
        match fs::read_dir(self.run.join("run").join(folder)) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// Waits for a condition, for at most ten seconds.
pub(super) async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns the interfaces of the sandbox.
pub(super) fn links() -> Vec<Link> {
    Netlink::open().unwrap().links().unwrap()
}

/// Returns a request for a container whose id begins with these letters.
pub(super) fn request(name: &str, mode: NetworkMode) -> SetupRequest {
    SetupRequest {
        id: id(name),
        names: vec![name.to_owned()],
        mode,
        ..SetupRequest::default()
    }
}

/// Returns the id of the container that [`request`] asks for.
pub(super) fn id(name: &str) -> String {
    format!("{name:0<64}")
}

/// Runs something in a container's namespace.
pub(super) fn inside<T: Send>(netns: &Path, work: impl FnOnce() -> T + Send) -> T {
    namespace::inside(netns, || Ok(work())).unwrap()
}

/// Returns a container's nth address.
pub(super) fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 17, 0, last)
}
