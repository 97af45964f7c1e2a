//! Stopping a container, and sending it signals.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use super::error::Error;
use super::record::{Record, Status};
use super::{Condition, Container, Containers, chain, signal, to_the_end};
use crate::runtime::ShimError;

/// How long a container gets to end by itself, where nothing else is said.
const PATIENCE: u32 = 10;

/// How long the kernel gets to end what was killed. Only a process stuck in
/// the kernel takes that long.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

impl Containers {
    /// Asks a container to end, and kills it when it does not in time. Fine if
    /// it does not run.
    ///
    /// # Errors
    ///
    /// When it cannot even be killed.
    pub(crate) async fn stop(
        self: &Arc<Self>,
        reference: &str,
        patience: Option<u32>,
        signal: &str,
    ) -> Result<(), Error> {
        let signal = given(signal)?;
        let container = self.find(reference)?;
        let containers = self.clone();
        to_the_end(async move { containers.stop_now(&container, patience, signal).await }).await
    }

    pub(super) async fn stop_now(
        &self,
        container: &Arc<Container>,
        patience: Option<u32>,
        signal: Option<i32>,
    ) -> Result<(), Error> {
        if self.give_up_restart(container).await? {
            self.publish(container, "stop", &[]);
        }
        if container.status() != Status::Running {
            return Ok(());
        }
        self.note_stop(container)?;
        let (usual, specified) = {
            let cell = container.cell();
            (
                usual_signal(&cell.record),
                cell.record.spec.stop_timeout_seconds,
            )
        };
        let patience = patience.or(specified).unwrap_or(PATIENCE);
        let number = signal.unwrap_or(usual);
        if let Err(error) = self.signal(container, number).await
            && container.status() == Status::Running
        {
            tracing::warn!(
                container = container.id,
                "cannot send the stop signal: {}",
                chain(&error)
            );
        }
        let ended = container.wait(Condition::NotRunning);
        if timeout(Duration::from_secs(patience.into()), ended)
            .await
            .is_err()
        {
            self.publish(container, "kill", &[("signal", libc::SIGKILL.to_string())]);
            self.kill_all(container).await?;
        }
        self.publish(container, "stop", &[]);
        Ok(())
    }

    /// Kills every process of a container, and returns when it has ended.
    pub(super) async fn kill_all(&self, container: &Container) -> Result<(), Error> {
        let shim = container.cell().shim.clone();
        if let Some(shim) = shim {
            match shim.kill_all().await {
                Ok(()) | Err(ShimError::Gone) => {}
                Err(error) if container.status() == Status::Running => {
                    tracing::warn!(
                        container = container.id,
                        "cannot kill the container: {}",
                        chain(&error)
                    );
                    let _ = shim.kill(libc::SIGKILL).await;
                }
                Err(_) => {}
            }
        }
        timeout(KILL_PATIENCE, container.wait(Condition::NotRunning))
            .await
            .map(drop)
            .map_err(|_| {
                Error::Internal(format!(
                    "container {} does not end, though it was killed: a process of it may be stuck in the kernel",
                    container.name()
                ))
            })
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    ///
    /// When it does not run or the signal is none.
    pub(crate) async fn kill(&self, reference: &str, signal: &str) -> Result<(), Error> {
        let container = self.find(reference)?;
        let number = match signal {
            "" => libc::SIGKILL,
            signal => signal::parse(signal)?,
        };
        if ends(&container, number) {
            if self.give_up_restart(&container).await? {
                return Ok(());
            }
            if container.status() == Status::Running {
                self.note_stop(&container)?;
            }
        }
        if container.status() != Status::Running {
            return Err(not_running(&container));
        }
        self.signal(&container, number).await?;
        if number == libc::SIGKILL {
            // As Docker: after a kill it is over.
            let _ = timeout(
                Duration::from_secs(10),
                container.wait(Condition::NotRunning),
            )
            .await;
        }
        Ok(())
    }

    async fn signal(&self, container: &Container, number: i32) -> Result<(), Error> {
        let shim = container.cell().shim.clone();
        let shim = shim.ok_or_else(|| not_running(container))?;
        let sent = shim.kill(number).await.map_err(|error| match error {
            ShimError::Gone => not_running(container),
            ShimError::Refused {
                kind: crate::runtime::FailureKind::WrongState,
                ..
            } => not_running(container),
            error => Error::Internal(format!(
                "cannot kill container: {}: {}",
                container.name(),
                chain(&error)
            )),
        });
        sent?;
        self.publish(container, "kill", &[("signal", number.to_string())]);
        if ends(container, number) && container.is_paused() {
            // As Docker: a process that is held would not act on it.
            self.resume(container).await?;
        }
        Ok(())
    }

    /// Notes that someone stops a container, so that its policy does not start
    /// it again.
    fn note_stop(&self, container: &Container) -> Result<(), Error> {
        if self.is_powering_off() || container.cell().record.state.stopped {
            return Ok(());
        }
        container.update(|record| record.state.stopped = true)
    }

    /// Stops every container at once, for the power to go. Those that wait for
    /// their restart go on waiting when the machine starts.
    pub(crate) async fn stop_all(self: &Arc<Self>, patience: u32) {
        self.powering_off.store(true, Ordering::Relaxed);
        let running = |container: &Arc<Container>| container.status() == Status::Running;
        let stops = self.all().into_iter().filter(running).map(|container| {
            let containers = self.clone();
            tokio::spawn(async move { containers.stop_now(&container, Some(patience), None).await })
        });
        for stop in stops.collect::<Vec<_>>() {
            if let Ok(Err(error)) = stop.await {
                tracing::warn!("{}", chain(&error));
            }
        }
    }
}

/// Reads the signal that a request names, if it names one.
pub(super) fn given(signal: &str) -> Result<Option<i32>, Error> {
    Some(signal)
        .filter(|signal| !signal.is_empty())
        .map(signal::parse)
        .transpose()
}

/// The signal that asks a container to end.
fn usual_signal(record: &Record) -> i32 {
    // An image may name a signal that this kernel does not have.
    signal::parse(record.stop_signal()).unwrap_or(libc::SIGTERM)
}

/// Tells whether a signal is one that asks a container to end.
fn ends(container: &Container, number: i32) -> bool {
    number == libc::SIGKILL || number == usual_signal(&container.cell().record)
}

fn not_running(container: &Container) -> Error {
    Error::State(format!(
        "cannot kill container: {}: container {} is not running",
        container.name(),
        container.id
    ))
}
