//! Removing a container.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::Error;
use super::mount::MountSource;
use super::record::Status;
use super::{Container, Containers, blocking, chain, to_the_end};

/// The prefix of a directory whose container is gone and whose files are not
/// all deleted yet.
pub(super) const REMOVED: &str = ".removed-";

impl Containers {
    /// Removes a container; with `force` also one that runs, with `volumes`
    /// also the volumes made only for it.
    ///
    /// # Errors
    ///
    /// [`Error::State`] for a running one without `force`.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        reference: &str,
        force: bool,
        volumes: bool,
    ) -> Result<(), Error> {
        let container = self.find(reference)?;
        let containers = self.clone();
        to_the_end(async move {
            loop {
                let turn = container.turn.clone().lock_owned().await;
                if container.phase.borrow().removed {
                    return Ok(());
                }
                if !force && container.status() == Status::Restarting {
                    return Err(Error::State(format!(
                        "cannot remove container \"/{}\": container is restarting: stop the container before removing or force remove",
                        container.name()
                    )));
                }
                if container.status() != Status::Running {
                    containers.remove_stopped(&container, volumes).await?;
                    let directory = container.paths.directory.clone();
                    // Whoever hears of it may count on it, a power cut or not.
                    return blocking(move || sync(&directory)).await;
                }
                if !force && container.is_paused() {
                    return Err(Error::State(format!(
                        "cannot remove container \"/{}\": container is paused and must be unpaused first",
                        container.name()
                    )));
                }
                if !force {
                    return Err(Error::State(format!(
                        "cannot remove container \"/{}\": container is running: stop the container before removing or force remove",
                        container.name()
                    )));
                }
                // Its end needs the turn.
                drop(turn);
                containers.kill_all(&container).await?;
            }
        })
        .await
    }

    /// Removes a container that does not run. The caller has its turn.
    pub(super) async fn remove_stopped(
        self: &Arc<Self>,
        container: &Arc<Container>,
        volumes: bool,
    ) -> Result<(), Error> {
        let shim = container.cell().shim.take();
        if shim.is_some() {
            // A client attached, and the start never came.
            self.clean_up(container, shim).await;
        }
        let (removed, remover) = (container.clone(), self.clone());
        blocking(move || remover.remove_files(&removed, volumes)).await?;
        self.registry().remove(&container.id);
        let containers = self.clone();
        let _ = tokio::task::spawn_blocking(move || containers.release_images()).await;
        self.execs()
            .retain(|_, exec| exec.container != container.id);
        self.publish(container, "destroy", &[]);
        container.phase.send_modify(|phase| phase.removed = true);
        Ok(())
    }

    fn remove_files(&self, container: &Container, volumes: bool) -> Result<(), Error> {
        let record = container.record();
        let anonymous: Vec<_> = record
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Volume {
                    name,
                    anonymous: true,
                    ..
                } if volumes => Some(name.clone()),
                _ => None,
            })
            .collect();
        if !anonymous.is_empty() {
            // From here on the removal goes on even after a crash.
            container.update(|record| record.state.status = Status::Removing)?;
            for name in anonymous {
                self.remove_unused_volume(&self.volumes.turn(), &name, &container.id)?;
            }
        }
        let directory = &container.paths.directory;
        let gone = directory.with_file_name(format!("{REMOVED}{}", container.id));
        match fs::rename(directory, &gone) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::path("removing", directory, error));
            }
            _ => {}
        }
        let _ = fs::remove_dir_all(&container.paths.runtime);
        // What it wrote can be much: nobody waits for that to be deleted.
        std::thread::Builder::new()
            .name("delete".to_owned())
            .stack_size(256 * 1024)
            .spawn({
                let gone = gone.clone();
                move || delete(&gone)
            })
            .map(drop)
            .unwrap_or_else(|_| delete(&gone));
        Ok(())
    }
}

/// Makes a directory's removal from its parent durable.
fn sync(removed: &Path) -> Result<(), Error> {
    let parent = removed.parent().unwrap_or(Path::new("/"));
    fs::File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::path("syncing", parent, error))
}

/// Deletes a directory of a removed container. What cannot be deleted now is
/// tried again when the agent next starts.
pub(super) fn delete(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("cannot delete {}: {}", directory.display(), chain(&error));
    }
}
