//! Which ports the containers in the guest's own network listen at. They appear
//! on the host by themselves.

mod notice;
mod program;
mod sockets;

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use wherry_proto::v1::{Event, ListeningContainer, ListeningPort};

use crate::container::{CGROUP, Containers};
use crate::event::Events;
use crate::runtime::Cgroup;
use notice::Notices;

/// How long notices are collected before the sockets are looked at: what begins
/// and ends within is of no use to anybody.
const COLLECT: Duration = Duration::from_millis(20);

/// When they are looked at once more after a notice, which comes before a socket
/// that is closed is gone.
const AGAIN: Duration = Duration::from_millis(250);

/// How often they are looked at while such containers run, where the kernel
/// gives no notices.
const WITHOUT_NOTICES: Duration = Duration::from_secs(2);

/// UDP ports from here up are those that the kernel gives to clients
/// (ip_local_port_range), which wait for answers like servers for requests.
const FIRST_OF_CLIENTS: u16 = 32_768;

/// The most ports of a container that are told of.
const MOST_PORTS: usize = 4096;

/// Every container in the guest's own network that runs, with its ports.
pub(crate) type Snapshot = Vec<ListeningContainer>;

/// Watches, from the first time that somebody asks.
#[derive(Default)]
pub(crate) struct Listening(OnceLock<watch::Receiver<Snapshot>>);

impl Listening {
    /// Returns what changes with every change. To be called in a runtime.
    pub(crate) fn watch(
        &self,
        containers: &Arc<Containers>,
        events: &Events,
    ) -> watch::Receiver<Snapshot> {
        let begin = || {
            let (sender, receiver) = watch::channel(Vec::new());
            let (_, events) = events.subscribe();
            tokio::spawn(run(Arc::downgrade(containers), events, sender));
            receiver
        };
        self.0.get_or_init(begin).clone()
    }
}

async fn run(
    containers: Weak<Containers>,
    mut events: broadcast::Receiver<Event>,
    sender: watch::Sender<Snapshot>,
) {
    let mut notices = None;
    let mut refused = false;
    let mut again = None;
    // Before the first container where possible, so that nothing is missed.
    match attach() {
        Ok(attached) => notices = Some(attached),
        Err(error) => {
            refused = true;
            tracing::warn!(%error, "no notices of listening sockets: looked for every two seconds");
        }
    }
    loop {
        let Some(wanted) = containers.upgrade().map(|all| all.in_own_network()) else {
            return;
        };
        let idle = wanted.is_empty();
        look(wanted, &sender).await;
        tokio::select! {
            noticed = noticed(&mut notices) => match noticed {
                Ok(()) => {
                    tokio::time::sleep(COLLECT).await;
                    again = Some(Instant::now() + AGAIN);
                }
                Err(error) => {
                    (notices, refused) = (None, true);
                    tracing::warn!(%error, "no more notices of listening sockets");
                }
            },
            () = at(again) => again = None,
            going_on = starts_or_ends(&mut events) => if !going_on {
                return;
            },
            () = tokio::time::sleep(WITHOUT_NOTICES), if refused && !idle => {}
        }
    }
}

fn attach() -> std::io::Result<Notices> {
    let cgroup = Cgroup::new(Path::new(CGROUP));
    // It is there from the first container on.
    std::fs::create_dir_all(cgroup.path())?;
    Notices::attach(cgroup.path())
}

async fn noticed(notices: &mut Option<Notices>) -> std::io::Result<()> {
    match notices {
        Some(notices) => notices.next().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits until a container starts or ends. False: there are no more events.
async fn starts_or_ends(events: &mut broadcast::Receiver<Event>) -> bool {
    loop {
        match events.recv().await {
            Ok(event) if event.r#type != "container" => {}
            Ok(event) if !matches!(event.action.as_str(), "start" | "die") => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return true,
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

/// Looks at the sockets, and tells of what has changed.
async fn look(wanted: Vec<(String, PathBuf)>, sender: &watch::Sender<Snapshot>) {
    let looked = tokio::task::spawn_blocking(move || snapshot(&wanted)).await;
    match looked {
        Ok(Ok(snapshot)) => {
            sender.send_if_modified(|present| {
                let changed = *present != snapshot;
                *present = snapshot;
                changed
            });
        }
        Ok(Err(error)) => tracing::warn!(%error, "cannot list listening sockets"),
        Err(_) => {}
    }
}

fn snapshot(wanted: &[(String, PathBuf)]) -> std::io::Result<Snapshot> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut waiting = sockets::waiting()?;
    waiting.retain(|socket| socket.protocol == "tcp" || socket.port < FIRST_OF_CLIENTS);
    // Addresses of IPv4 first.
    waiting.sort();
    let ports_of = |(id, cgroup): &(String, PathBuf)| {
        let mut cgroups = HashSet::new();
        add_cgroups(cgroup, &mut cgroups);
        let mut ports = BTreeMap::new();
        for socket in waiting
            .iter()
            .filter(|socket| cgroups.contains(&socket.cgroup))
        {
            ports
                .entry((socket.protocol, socket.port))
                .or_insert(socket.address);
        }
        let ports = ports.into_iter().take(MOST_PORTS);
        ListeningContainer {
            container: id.clone(),
            ports: ports
                .map(|((protocol, port), address)| ListeningPort {
                    port: port.into(),
                    protocol: protocol.to_owned(),
                    address: address.to_string(),
                })
                .collect(),
        }
    };
    Ok(wanted.iter().map(ports_of).collect())
}

/// Adds the ids of a cgroup and of those below it. The kernel's id of a cgroup is
/// its directory's inode number.
fn add_cgroups(directory: &Path, ids: &mut HashSet<u64>) {
    let Ok(metadata) = directory.metadata() else {
        return;
    };
    ids.insert(metadata.ino());
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_cgroups(&entry.path(), ids);
        }
    }
}
