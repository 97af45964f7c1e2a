//! Checking a container's health for as long as it runs.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Check, Health, Verdict};
use crate::container::record::{Status, now};
use crate::container::{Container, Containers};

impl Container {
    fn check(&self) -> Option<Check> {
        let record = &self.cell().record;
        Check::of(
            record.spec.health_check.as_ref(),
            record.image_config.health_check.as_ref(),
        )
    }

    /// Where its health is noted while it runs, for an agent that comes later.
    fn health_file(&self) -> PathBuf {
        self.paths.runtime.join("health.json")
    }
}

impl Containers {
    /// Checks the health of a container that has just started, until it ends.
    pub(crate) fn check_health(self: &Arc<Self>, container: &Arc<Container>) {
        let health = container.check().map(|check| (check, Health::default()));
        self.monitor(container, health);
    }

    /// As [`Containers::check_health`], of a container that ran before the agent.
    pub(crate) fn check_health_on(self: &Arc<Self>, container: &Arc<Container>) {
        let known = fs::read(container.health_file())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        self.monitor(container, container.check().map(|check| (check, known)));
    }

    fn monitor(self: &Arc<Self>, container: &Arc<Container>, begin: Option<(Check, Health)>) {
        let (check, health) = match begin {
            Some((check, health)) => (check, Some(health)),
            None => {
                container.cell().health = None;
                return;
            }
        };
        container.cell().health = health;
        let (containers, container) = (self.clone(), container.clone());
        tokio::spawn(async move {
            let mut phase = container.watch();
            let starts = phase.borrow().starts;
            loop {
                let ended = phase.wait_for(|phase| {
                    phase.status != Status::Running || phase.removed || phase.starts != starts
                });
                if timeout(pause(&container, &check), ended).await.is_ok() {
                    break;
                }
                if !container.is_paused() {
                    containers.check_once(&container, &check, starts).await;
                }
            }
            // As Docker: what does not run is not healthy.
            if container.phase.borrow().starts == starts
                && let Some(health) = &mut container.cell().health
            {
                health.verdict = Verdict::Unhealthy;
            }
        });
    }

    async fn check_once(&self, container: &Arc<Container>, check: &Check, starts: u64) {
        let Some(outcome) = self.probe(container, check).await else {
            return;
        };
        if container.status() != Status::Running || container.phase.borrow().starts != starts {
            // The end took the check with it.
            return;
        }
        let coming_up = age(container, outcome.start_ns) < check.start_period;
        let (before, health) = {
            let mut cell = container.cell();
            let Some(health) = &mut cell.health else {
                return;
            };
            let before = health.verdict;
            health.take(outcome, check, coming_up);
            (before, health.clone())
        };
        if let Ok(bytes) = serde_json::to_vec(&health)
            && let Err(error) = fs::write(container.health_file(), bytes)
        {
            tracing::debug!(container = container.id, %error, "its health is not noted");
        }
        if health.verdict != before {
            let action = format!("health_status: {}", health.verdict.word());
            self.publish(container, &action, &[]);
        }
    }
}

/// How long a container has run, at a time in nanoseconds since 1970.
fn age(container: &Container, at: i64) -> Duration {
    let started = container.cell().record.state.started;
    Duration::from_nanos(at.saturating_sub(started).max(0).unsigned_abs())
}

fn pause(container: &Container, check: &Check) -> Duration {
    let starting = container
        .cell()
        .health
        .as_ref()
        .is_some_and(|health| health.verdict == Verdict::Starting);
    if starting && age(container, now()) < check.start_period {
        check.start_interval
    } else {
        check.interval
    }
}
