//! Finding the containers again when the agent starts: those that run go on
//! undisturbed, those that ended are cleaned up after, what was half made or
//! half removed goes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use super::error::Error;
use super::exit::{last_exit, unknown};
use super::limits::Weights;
use super::record::{Record, Status};
use super::registry::Registry;
use super::remove::{REMOVED, delete};
use super::start::CGROUP;
use super::volume::Volumes;
use super::{Container, Containers, Places, chain, mount};
use crate::event::Events;
use crate::image::{Store, unmount_root};
use crate::network::Network;
use crate::runtime::{Cgroup, Shim, ShimStatus};

impl Containers {
    /// Finds the containers of the data disk.
    ///
    /// # Errors
    ///
    /// When the directory of containers cannot be read or made.
    pub(crate) async fn open(
        places: Places,
        images: Arc<Store>,
        network: Network,
        events: Arc<Events>,
    ) -> Result<Arc<Self>, Error> {
        let containers = Arc::new(Self {
            volumes: Volumes::open(places.root.join("volumes"))?,
            weights: Arc::new(Weights::of(&places.root, places.own_machine)),
            places,
            images,
            network,
            events,
            registry: Mutex::new(Registry::default()),
            execs: Mutex::new(HashMap::new()),
            powering_off: AtomicBool::new(false),
        });
        // libcontainer fails where two starts make it at once.
        if let Err(error) = Cgroup::new(Path::new(CGROUP)).make() {
            tracing::warn!(%error, "cannot make the cgroup of all containers");
        }
        let mut running = Vec::new();
        let mut unwanted = Vec::new();
        for record in containers.records()? {
            let id = record.id.clone();
            if let Err(error) = containers.registry().take_name(&record.name, &id) {
                tracing::error!(container = id, "{}", chain(&error));
            }
            let container = Container::new(record, containers.paths(&id));
            containers.registry().insert(container.clone());
            if containers.adopt(&container).await {
                running.push(id);
            } else if containers.settle(&container).await {
                unwanted.push(container);
            }
        }
        for error in containers
            .network
            .adopt(&running)
            .await
            .err()
            .into_iter()
            .flatten()
        {
            tracing::warn!("restoring the network: {}", chain(&error));
        }
        for container in unwanted {
            let _turn = container.turn.clone().lock_owned().await;
            if let Err(error) = containers.remove_stopped(&container, true).await {
                tracing::error!(container = container.id, "{}", chain(&error));
            }
        }
        containers.apply_policies()?;
        containers.start_waiting();
        let all = containers.clone();
        let _ = tokio::task::spawn_blocking(move || all.release_images()).await;
        Ok(containers)
    }

    /// Reads every record, and deletes directories that are no container.
    fn records(&self) -> Result<Vec<Record>, Error> {
        let directory = self.places.root.join("containers");
        let failed = |error| Error::path("reading", &directory, error);
        fs::create_dir_all(&directory).map_err(failed)?;
        let (mut records, mut debris) = (Vec::new(), Vec::<PathBuf>::new());
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.starts_with(REMOVED) {
                debris.push(path);
                continue;
            }
            match Record::load(&path) {
                Ok(Some(record)) if record.id == name => records.push(record),
                // Making it was cut off: the record is what is written last.
                Ok(None) => debris.push(path),
                Ok(Some(_)) => {
                    tracing::error!("{}: the record of another container", path.display())
                }
                Err(error) => tracing::error!("{}", chain(&error)),
            }
        }
        if !debris.is_empty() {
            std::thread::spawn(move || debris.iter().for_each(|path| delete(path)));
        }
        records.sort_by_key(|record| record.created);
        Ok(records)
    }

    /// Takes over a container that has a shim, and tells whether it did.
    async fn adopt(self: &Arc<Self>, container: &Arc<Container>) -> bool {
        if !container.paths.runtime.exists() {
            return false;
        }
        let Ok((shim, events)) = Shim::connect(&container.paths.runtime).await else {
            return false;
        };
        let state = match shim.state().await {
            Ok(state) => state,
            Err(_) => return false,
        };
        if matches!(state.status, ShimStatus::Empty | ShimStatus::Created) {
            // Its start was cut off before anything ran.
            if let Err(error) = shim.delete().await {
                tracing::warn!(container = container.id, "{}", chain(&error));
            }
            return false;
        }
        tracing::info!(
            container = container.id,
            name = container.name(),
            "adopted a running container"
        );
        container.cell().shim = Some(shim);
        let saved = container.update(|record| {
            record.state.status = Status::Running;
            record.state.shim_pid = state.shim_pid;
            record.state.pid = state.pid;
            record.state.paused = state.paused;
        });
        if let Err(error) = saved {
            tracing::error!(container = container.id, "{}", chain(&error));
        }
        self.check_health_on(container);
        // If it has ended meanwhile, the first event says so.
        self.follow(container.clone(), events);
        true
    }

    /// Cleans up after a container that does not run, and tells whether it is
    /// to be removed.
    async fn settle(&self, container: &Arc<Container>) -> bool {
        let paths = container.paths.clone();
        let _ = tokio::task::spawn_blocking(move || {
            mount::unpin_all(&paths.mounts);
            if let Err(error) = unmount_root(&paths.root()) {
                tracing::warn!("{}", chain(&error));
            }
            let _ = fs::remove_dir_all(&paths.runtime);
        })
        .await;
        if container.status() == Status::Running {
            let exit = last_exit(container, unknown());
            self.record_end(container, &exit);
            self.publish_end(container, &exit);
        }
        let cell = container.cell();
        cell.record.spec.auto_remove || cell.record.state.status == Status::Removing
    }
}
