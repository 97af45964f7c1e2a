//! What happens when a container's process ends.

use std::sync::Arc;

use super::record::{Status, now, timestamp};
use super::start::NEVER_RAN;
use super::{Container, Containers, Error, chain};
use crate::image::unmount_root;
use crate::runtime::{Cgroup, ExitStatus, Shim, ShimEvent, ShimEvents};

/// The exit code of a container whose end nobody saw, as after a power cut.
const UNKNOWN: i32 = 255;

impl Containers {
    /// Follows a shim's events until its container has ended.
    pub(super) fn follow(self: &Arc<Self>, container: Arc<Container>, mut events: ShimEvents) {
        let containers = self.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    ShimEvent::ExecExited { exec, status } => {
                        containers.exec_exited(&container, &exec, status.code);
                    }
                    ShimEvent::OutOfMemory(kills) => {
                        containers.ran_out_of_memory(&container, kills, crate::event::now());
                    }
                    ShimEvent::Exited(status) => {
                        containers.exited(&container, status).await;
                        return;
                    }
                    ShimEvent::Gone => break,
                }
            }
            containers.lost(&container).await;
        });
    }

    /// A shim is gone with its container's end unseen: someone killed it.
    async fn lost(self: &Arc<Self>, container: &Arc<Container>) {
        if container.status() != Status::Running {
            return;
        }
        tracing::error!(container = container.id, "the container's shim is gone");
        let cgroup = Cgroup::new(&self.cgroup(&container.id));
        // Without its shim nobody could reap or stop what still runs.
        if let Err(error) = cgroup.kill() {
            tracing::error!(container = container.id, %error, "cannot kill the container");
        }
        let _ = tokio::task::spawn_blocking(move || cgroup.remove()).await;
        let status = last_exit(container, libc::SIGKILL + 128);
        self.exited(container, status).await;
    }

    /// Cleans up after a container that ended, records how, and removes it
    /// where it asked for that.
    async fn exited(self: &Arc<Self>, container: &Arc<Container>, status: ExitStatus) {
        // Not before its start is through.
        let _turn = container.turn.clone().lock_owned().await;
        if container.status() != Status::Running {
            return;
        }
        let begun = std::time::Instant::now();
        let ran = status.finished_ns - container.cell().record.state.started;
        let told = super::record::now() - status.finished_ns;
        let shim = container.cell().shim.take();
        self.clean_up(container, shim).await;
        let cleaned = begun.elapsed();
        let auto_remove = {
            let cell = container.cell();
            cell.record.spec.auto_remove && !cell.stays
        };
        let left = container.record().state.endpoints;
        let again = self.record_end(container, &status);
        self.publish_end(container, &status);
        self.publish_networks(container, "disconnect", &left);
        self.publish_mounts(container, "unmount");
        self.end_execs(container);
        if let Some(pause) = again {
            self.restart_after(container, pause);
        }
        if auto_remove && let Err(error) = self.remove_stopped(container, true).await {
            tracing::error!(
                container = container.id,
                "cannot remove the container: {}",
                chain(&error)
            );
        }
        tracing::debug!(
            container = container.id,
            ran_us = ran / 1000,
            told_us = told / 1000,
            cleaned_us = cleaned.as_micros(),
            settled_us = begun.elapsed().as_micros(),
            "ended"
        );
    }

    /// Records that the kernel killed processes of a container for want of memory,
    /// so many since its start, and tells of those that were not told of yet.
    fn ran_out_of_memory(&self, container: &Container, kills: u64, time: prost_types::Timestamp) {
        if kills <= container.cell().record.state.oom_kills {
            return;
        }
        let saved = container.update(|record| {
            record.state.oom_killed = true;
            record.state.oom_kills = kills;
        });
        if let Err(error) = saved {
            tracing::error!(container = container.id, "{}", chain(&error));
        }
        self.publish_at(time, container, "oom", &[]);
    }

    /// Tells that a container ended, and how.
    pub(super) fn publish_end(&self, container: &Container, status: &ExitStatus) {
        // The agent may have been away when it did.
        let time = timestamp(status.finished_ns).unwrap_or_else(crate::event::now);
        self.ran_out_of_memory(container, status.oom_kills, time);
        let started = container.cell().record.state.started;
        let ran = (status.finished_ns - started).max(0) / 1_000_000_000;
        let attributes = [
            ("exitCode", status.code.to_string()),
            ("execDuration", ran.to_string()),
        ];
        self.publish_at(time, container, "die", &attributes);
    }

    /// Takes away what a container has only while it runs. Goes on after each
    /// failure, so that one leaves the rest clean.
    pub(super) async fn clean_up(&self, container: &Container, shim: Option<Shim>) {
        let id = &container.id;
        let begun = std::time::Instant::now();
        let shim = async {
            if let Some(shim) = shim
                && let Err(error) = shim.delete().await
            {
                tracing::warn!(container = id, "cannot end the shim: {}", chain(&error));
            }
            begun.elapsed()
        };
        let network = async {
            for error in self.network.teardown(id).await.err().into_iter().flatten() {
                tracing::warn!(
                    container = id,
                    "cannot take the network away: {}",
                    chain(&error)
                );
            }
            begun.elapsed()
        };
        let (shim, network) = tokio::join!(shim, network);
        tracing::debug!(
            container = id,
            shim_us = shim.as_micros(),
            network_us = network.as_micros(),
            "cleaning up"
        );
        let paths = container.paths.clone();
        let unmounted = tokio::task::spawn_blocking(move || {
            super::mount::unpin_all(&paths.mounts);
            unmount_root(&paths.root())
        });
        if let Ok(Err(error)) = unmounted.await {
            tracing::warn!(container = id, "cannot unmount the root: {}", chain(&error));
        }
    }
}

/// Returns how a container ended, as far as its shim left word.
pub(super) fn last_exit(container: &Container, otherwise: i32) -> ExitStatus {
    let noted = ExitStatus::read(&super::root::exit_file(&container.paths));
    let started = container.cell().record.state.started;
    match noted {
        Ok(Some(status)) if status.finished_ns >= started => status,
        _ => ExitStatus {
            code: otherwise,
            signal: None,
            oom_kills: 0,
            finished_ns: now(),
        },
    }
}

/// The exit code where none is known.
pub(super) const fn unknown() -> i32 {
    UNKNOWN
}

impl Containers {
    /// Records that a start failed.
    pub(super) fn start_failed(&self, container: &Container, error: &Error) {
        let exit_code = match error {
            Error::Start { exit_code, .. } => *exit_code,
            _ => NEVER_RAN,
        };
        let message = error.to_string();
        let saved = container.update(|record| {
            // Docker leaves a container that never ran as created.
            if record.state.started != 0 {
                record.state.status = Status::Exited;
            }
            record.state.exit_code = exit_code;
            record.state.error = message;
            record.state.pid = 0;
            record.state.shim_pid = 0;
            record.state.ports.clear();
        });
        if let Err(error) = saved {
            tracing::error!(container = container.id, "{}", chain(&error));
        }
    }
}
