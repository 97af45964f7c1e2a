//! Starting containers again by their policies: after they ended, and when the
//! machine starts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::error::Error;
use super::isolation::target;
use super::mounts::parse_volumes_from;
use super::network::mode as network_mode;
use super::policy::{Policy, pause};
use super::record::{Record, Status};
use super::{Container, Containers, chain};
use crate::network::NetworkMode;
use crate::runtime::ExitStatus;

/// There since the containers' policies were applied to this start of the
/// machine, among what ends with the machine.
const APPLIED: &str = "policies-applied";

impl Containers {
    /// Records the end of a container, and whether it starts again by its
    /// policy. Returns the pause before that.
    pub(super) fn record_end(&self, container: &Container, exit: &ExitStatus) -> Option<Duration> {
        // An end that came with the machine's is for `apply_policies`.
        let may = !container.cell().stays && !self.is_powering_off() && self.policies_applied();
        let mut again = None;
        let saved = container.update(|record| {
            record.state.end(exit);
            if may && Policy::of(&record.spec).applies(&record.state) {
                let ran = record.state.finished.saturating_sub(record.state.started);
                let previous = Duration::from_millis(record.state.restart_pause_ms);
                let pause = pause(previous, Duration::from_nanos(ran.max(0).unsigned_abs()));
                record.state.status = Status::Restarting;
                record.state.restart_pause_ms = pause.as_millis() as u64;
                again = Some(pause);
            } else {
                record.state.ports.clear();
            }
        });
        if let Err(error) = saved {
            // The shim's own note of the exit still is on the disk.
            tracing::error!(container = container.id, "{}", chain(&error));
        }
        again
    }

    /// Starts a container again after a pause, unless someone stops, starts or
    /// removes it before.
    pub(super) fn restart_after(self: &Arc<Self>, container: &Arc<Container>, pause: Duration) {
        let (containers, container) = (self.clone(), container.clone());
        tokio::spawn(async move {
            let mut phase = container.watch();
            let other = phase.wait_for(|phase| phase.status != Status::Restarting || phase.removed);
            if timeout(pause, other).await.is_err() {
                containers.start_again(&container).await;
            }
        });
    }

    /// Starts a container that waits for its restart.
    async fn start_again(self: &Arc<Self>, container: &Arc<Container>) {
        let _turn = container.turn.clone().lock_owned().await;
        if container.status() != Status::Restarting
            || container.phase.borrow().removed
            || self.is_powering_off()
        {
            return;
        }
        let (ports, restarts) = {
            let state = &container.cell().record.state;
            (state.ports.clone(), state.restart_count + 1)
        };
        if let Err(error) = self.start_in_turn(container, ports, restarts).await {
            tracing::warn!(
                container = container.id,
                name = container.name(),
                "not started by its restart policy: {}",
                chain(&error)
            );
        }
    }

    /// Gives up the restart that a container waits for, and tells whether it
    /// waited for one.
    pub(super) async fn give_up_restart(&self, container: &Container) -> Result<bool, Error> {
        if container.status() != Status::Restarting {
            return Ok(false);
        }
        let _turn = container.turn.clone().lock_owned().await;
        if container.status() != Status::Restarting {
            return Ok(false);
        }
        container.update(|record| {
            record.state.status = Status::Exited;
            record.state.stopped = true;
            record.state.ports.clear();
        })?;
        Ok(true)
    }

    /// Tells whether policies were applied since the machine started.
    pub(super) fn policies_applied(&self) -> bool {
        self.places.run.join(APPLIED).exists()
    }

    /// Marks the containers that start with the machine, once for each start of
    /// the machine.
    ///
    /// # Errors
    ///
    /// When it cannot be noted that this is done.
    pub(super) fn apply_policies(&self) -> Result<(), Error> {
        if self.policies_applied() {
            return Ok(());
        }
        for container in self.all() {
            let starts = {
                let record = &container.cell().record;
                record.state.status == Status::Exited
                    && record.state.started != 0
                    && Policy::of(&record.spec).applies_at_boot(&record.state)
            };
            if starts {
                container.update(|record| {
                    record.state.status = Status::Restarting;
                    record.state.restart_pause_ms = 0;
                    // Nothing is bound on the host any more.
                    record.state.ports.clear();
                })?;
            }
        }
        let mark = self.places.run.join(APPLIED);
        std::fs::write(&mark, "").map_err(|error| Error::path("writing", &mark, error))
    }

    /// Starts the containers that were waiting for it when the agent or the
    /// machine ended: what others depend on first.
    pub(super) fn start_waiting(self: &Arc<Self>) {
        let waiting = |container: &Arc<Container>| container.status() == Status::Restarting;
        let records: Vec<_> = self
            .all()
            .iter()
            .filter(|container| waiting(container))
            .map(|container| container.record())
            .collect();
        let levels = levels(&records);
        let containers = self.clone();
        tokio::spawn(async move {
            for level in levels {
                let starts: Vec<_> = level
                    .into_iter()
                    .filter_map(|id| containers.find(&id).ok())
                    .map(|container| {
                        let containers = containers.clone();
                        tokio::spawn(async move { containers.start_again(&container).await })
                    })
                    .collect();
                for start in starts {
                    // A start that panicked has been logged.
                    let _ = start.await;
                }
            }
        });
    }
}

/// The containers without which a container cannot start, by id.
fn needs(record: &Record) -> impl Iterator<Item = String> {
    let network = match network_mode(&record.spec.network) {
        NetworkMode::Container(target) => Some(target),
        _ => None,
    };
    let modes = [&record.spec.pid_mode, &record.spec.ipc_mode];
    let shared = modes.into_iter().filter_map(|mode| target(mode));
    let volumes = record.spec.volumes_from.iter();
    let volumes = volumes.filter_map(|from| Some(parse_volumes_from(from).ok()?.0));
    network
        .into_iter()
        .chain(shared.chain(volumes).map(str::to_owned).collect::<Vec<_>>())
}

/// Puts containers in the order in which they start: each level needs only
/// those before it. What needs itself in the end comes last.
fn levels(records: &[Record]) -> Vec<Vec<String>> {
    // What the user wrote may be a name, or the beginning of an id.
    let id = |wanted: String| {
        let is_it = |record: &&Record| record.name == wanted || record.id.starts_with(&wanted);
        records
            .iter()
            .find(is_it)
            .map_or(wanted.clone(), |record| record.id.clone())
    };
    let mut left: HashMap<&str, Vec<String>> = records
        .iter()
        .map(|record| (record.id.as_str(), needs(record).map(id).collect()))
        .collect();
    let mut levels = Vec::new();
    while !left.is_empty() {
        let ready = |needs: &[String]| !needs.iter().any(|id| left.contains_key(id.as_str()));
        let mut level: Vec<&str> = records
            .iter()
            .map(|record| record.id.as_str())
            .filter(|id| left.get(id).is_some_and(|needs| ready(needs)))
            .collect();
        if level.is_empty() {
            level = left.keys().copied().collect();
        }
        for id in &level {
            left.remove(id);
        }
        levels.push(level.into_iter().map(str::to_owned).collect());
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::ContainerSpec;

    fn record(id: &str, network: &str) -> Record {
        let spec = ContainerSpec {
            network: network.to_owned(),
            ..Default::default()
        };
        Record::new(id.to_owned(), id.to_owned(), spec)
    }

    #[test]
    fn what_others_need_starts_first() {
        let records = [
            record("c", "container:b"),
            record("a", "none"),
            record("b", "container:a"),
            record("d", "container:elsewhere"),
        ];
        assert_eq!(levels(&records), [vec!["a", "d"], vec!["b"], vec!["c"]]);
    }

    #[test]
    fn whose_volumes_are_mounted_starts_first() {
        let mut second = record("b", "none");
        second.spec.volumes_from = vec!["first:ro".to_owned()];
        let mut first = record("c", "none");
        first.name = "first".to_owned();
        assert_eq!(levels(&[second, first]), [vec!["c"], vec!["b"]]);
    }

    #[test]
    fn a_circle_still_starts() {
        let records = [record("a", "container:b"), record("b", "container:a")];
        let mut all = levels(&records).concat();
        all.sort();
        assert_eq!(all, ["a", "b"]);
    }
}
