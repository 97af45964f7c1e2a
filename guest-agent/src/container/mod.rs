//! Containers: their records, their life, their volumes, their logs.
//!
//! [`Containers`] holds them all. A container's life goes through
//! [`Containers::create`], [`Containers::start`], an exit and
//! [`Containers::remove`]; each of these runs to its end on a task of its own,
//! so that a client that vanishes in the middle leaves nothing half done.
//!
//! Locks: `registry` and a container's `cell` are held for moments and never
//! across an await. A container's `turn` is held while it starts, is cleaned
//! up or is removed, so that these never overlap; nothing waits with it for a
//! process to end.

mod again;
mod attach;
mod check;
mod copy;
mod create;
mod error;
mod exec;
mod exit;
mod files;
mod health;
mod inspect;
mod isolation;
mod limits;
mod log;
mod logging;
mod mount;
mod mounts;
mod name;
mod network;
mod own_network;
mod pause;
mod policy;
mod prune;
mod record;
mod registry;
mod remove;
mod rename;
mod restart;
mod restore;
mod root;
mod signal;
mod size;
mod start;
mod stats;
mod stop;
mod system;
mod tmpfs;
mod top;
mod update;
mod usage;
mod validate;
mod volume;
mod wait;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use wherry_proto::v1::Event;

use crate::event::Events;
use crate::image::Store;
use crate::network::Network;
use crate::runtime::Shim;

pub(crate) use error::Error;
pub(crate) use files::{CommitOptions, CopyInOptions};
pub(crate) use log::{Changes, Entry, LogReader};
pub(crate) use logging::{details as log_details, keeps as keeps_log};
pub(crate) use record::{Paths, Record, Status};
pub(crate) use start::CGROUP;
pub(crate) use wait::Condition;

use registry::Registry;
use volume::Volumes;

/// Digits of an id that are enough to tell containers apart for good.
const SHORT_ID: usize = 32;

/// Where containers are and what they may mount.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The data disk.
    pub(crate) root: PathBuf,
    /// What ends with the machine.
    pub(crate) run: PathBuf,
    /// Below this a bind mount's source must lie.
    pub(crate) shares: PathBuf,
    /// Whether the machine, with its disks, is the engine's own.
    pub(crate) own_machine: bool,
    /// The socket that leads to the engine's API, for containers that mount it.
    pub(crate) engine_socket: PathBuf,
}

/// All containers.
pub(crate) struct Containers {
    places: Places,
    images: Arc<Store>,
    network: Network,
    events: Arc<Events>,
    registry: Mutex<Registry>,
    volumes: Volumes,
    weights: Arc<limits::Weights>,
    /// The execs, by id.
    execs: Mutex<HashMap<String, exec::Exec>>,
    /// The power is about to go: what ends now does not start again.
    powering_off: AtomicBool,
}

/// One container.
pub(crate) struct Container {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Its files.
    pub(crate) paths: Paths,
    turn: Arc<tokio::sync::Mutex<()>>,
    cell: Mutex<Cell>,
    phase: watch::Sender<Phase>,
}

/// What is known of a container now.
struct Cell {
    record: Record,
    shim: Option<Shim>,
    /// Clients attached before the start; see [`attach`].
    waiting_clients: usize,
    /// It is being restarted, and is not removed when it ends.
    stays: bool,
    /// What its checks found, where it has any.
    health: Option<health::Health>,
}

/// What those who wait for a container look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    /// Where it is in its life.
    pub(crate) status: Status,
    /// How often a start has begun so far.
    pub(crate) starts: u64,
    /// How often it has ended so far.
    pub(crate) exits: u64,
    /// The exit code of the last end.
    pub(crate) exit_code: i32,
    /// Why the last start failed.
    pub(crate) error: String,
    /// It is gone for good.
    pub(crate) removed: bool,
}

impl Container {
    fn new(record: Record, paths: Paths) -> Arc<Self> {
        let phase = Phase {
            status: record.state.status,
            starts: 0,
            exits: 0,
            exit_code: record.state.exit_code,
            error: record.state.error.clone(),
            removed: false,
        };
        Arc::new(Self {
            id: record.id.clone(),
            paths,
            turn: Arc::default(),
            cell: Mutex::new(Cell {
                record,
                shim: None,
                waiting_clients: 0,
                stays: false,
                health: None,
            }),
            phase: watch::Sender::new(phase),
        })
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns its record as it is now.
    pub(crate) fn record(&self) -> Record {
        self.cell().record.clone()
    }

    /// Watches its life.
    pub(crate) fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    fn status(&self) -> Status {
        self.cell().record.state.status
    }

    fn name(&self) -> String {
        self.cell().record.name.clone()
    }

    /// Changes its record, writes it, and tells those who wait.
    fn update<T>(&self, change: impl FnOnce(&mut Record) -> T) -> Result<T, Error> {
        let mut cell = self.cell();
        let result = change(&mut cell.record);
        let state = cell.record.state.clone();
        let saved = cell.record.save(&self.paths.directory);
        drop(cell);
        self.phase.send_if_modified(|phase| {
            let ended = phase.status == Status::Running && state.status != Status::Running;
            let before = phase.clone();
            phase.status = state.status;
            phase.exits += u64::from(ended);
            phase.exit_code = state.exit_code;
            phase.error.clone_from(&state.error);
            *phase != before
        });
        saved.map(|()| result)
    }

    /// Docker's attributes of an event about it.
    fn attributes(&self) -> HashMap<String, String> {
        let record = &self.cell().record;
        let labels = [&record.image_config.labels, &record.spec.labels];
        let mut attributes: HashMap<_, _> = labels
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        attributes.insert("name".to_owned(), record.name.clone());
        attributes.insert("image".to_owned(), record.spec.image.clone());
        attributes
    }
}

impl Containers {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a container by id, unambiguous id prefix or name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] or [`Error::Ambiguous`].
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>, Error> {
        self.registry().find(reference)
    }

    /// Returns every container.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.registry().all()
    }

    /// Counts all containers and the running ones.
    pub(crate) fn count(&self) -> (u32, u32) {
        let all = self.all();
        let running = all
            .iter()
            .filter(|container| container.status() == Status::Running);
        (all.len() as u32, running.count() as u32)
    }

    fn is_powering_off(&self) -> bool {
        self.powering_off.load(Ordering::Relaxed)
    }

    fn paths(&self, id: &str) -> Paths {
        Paths {
            directory: self.places.root.join("containers").join(id),
            // Short: a socket's address in it has 108 bytes.
            runtime: self
                .places
                .run
                .join("shims")
                .join(&id[..SHORT_ID.min(id.len())]),
            mounts: self.places.run.join("mounts").join(id),
            volumes: self.places.root.join("volumes"),
        }
    }

    fn publish(&self, container: &Container, action: &str, more: &[(&'static str, String)]) {
        self.publish_at(crate::event::now(), container, action, more);
    }

    /// Tells what happened to a container at a time.
    fn publish_at(
        &self,
        time: prost_types::Timestamp,
        container: &Container,
        action: &str,
        more: &[(&'static str, String)],
    ) {
        let mut attributes = container.attributes();
        let more = more.iter().cloned();
        attributes.extend(more.map(|(name, value)| (name.to_owned(), value)));
        self.events.send(Event {
            time: Some(time),
            r#type: "container".to_owned(),
            action: action.to_owned(),
            id: container.id.clone(),
            attributes,
        });
    }
}

/// Runs work that blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::Internal(format!("an internal task failed: {error}"))))
}

/// Runs work to its end even if the caller is dropped.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|error| Err(Error::Internal(format!("an internal task failed: {error}"))))
}

/// Renders an error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
