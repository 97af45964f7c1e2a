//! Clients at a container's standard streams.
//!
//! The shim serves them, so that they outlive the agent. A client may come
//! before the start: then the shim is started for it, and waits with it for
//! the start. If every such client vanishes first, the shim goes again, and
//! with it a container that was to remove itself: whoever wanted it is gone.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::error::Error;
use super::record::Status;
use super::{Container, Containers, chain};
use crate::runtime::{AttachOptions, Shim, ShimError};
use crate::serve::Connection;

impl Containers {
    /// Attaches a client whose stream header was read. The container's shim
    /// answers on the stream; on an error it is given back.
    ///
    /// # Errors
    ///
    /// With the stream, to be answered on.
    pub(crate) async fn attach(
        self: &Arc<Self>,
        reference: &str,
        options: AttachOptions,
        stream: Connection,
    ) -> Result<(), (Error, Connection)> {
        let container = match self.find(reference) {
            Ok(container) => container,
            Err(error) => return Err((error, stream)),
        };
        // Against a start or an end under way.
        let turn = container.turn.clone().lock_owned().await;
        if container.phase.borrow().removed {
            return Err((Error::NotFound(reference.to_owned()), stream));
        }
        if let Err(error) = container.not_paused("unpause it before attaching to it") {
            return Err((error, stream));
        }
        let shim = match self.shim(&container).await {
            Ok(shim) => shim,
            Err(error) => return Err((error, stream)),
        };
        if let Err(error) = shim.attach(stream.as_fd(), options).await {
            let error = match error {
                ShimError::Gone => {
                    Error::State(format!("container {} has ended", container.name()))
                }
                error => Error::Internal(format!(
                    "cannot attach to {}: {}",
                    container.name(),
                    chain(&error)
                )),
            };
            return Err((error, stream));
        }
        self.publish(&container, "attach", &[]);
        if container.status() != Status::Running {
            container.cell().waiting_clients += 1;
            let starts = container.phase.borrow().starts;
            tokio::spawn(
                self.clone()
                    .watch_waiting(container.clone(), stream, starts),
            );
        }
        drop(turn);
        Ok(())
    }

    /// Returns the container's shim, started if there is none.
    pub(super) async fn shim(self: &Arc<Self>, container: &Arc<Container>) -> Result<Shim, Error> {
        if let Some(shim) = container.cell().shim.clone() {
            return Ok(shim);
        }
        let (shim, events) = Shim::spawn(&container.paths.runtime)
            .await
            .map_err(|error| Error::Internal(chain(&error)))?;
        container.cell().shim = Some(shim.clone());
        self.follow(container.clone(), events);
        Ok(shim)
    }

    /// Watches a client that waits for the start, until either comes to an end.
    async fn watch_waiting(
        self: Arc<Self>,
        container: Arc<Container>,
        stream: Connection,
        starts: u64,
    ) {
        let mut phase = container.watch();
        tokio::select! {
            _ = phase.wait_for(|phase| phase.starts > starts || phase.removed) => return,
            () = stream.closed() => {}
        }
        let _turn = container.turn.clone().lock_owned().await;
        let last = {
            let mut cell = container.cell();
            cell.waiting_clients = cell.waiting_clients.saturating_sub(1);
            cell.waiting_clients == 0
        };
        let started = container.phase.borrow().starts > starts;
        if started
            || !last
            || container.status() == Status::Running
            || container.phase.borrow().removed
        {
            return;
        }
        let (never_started, auto_remove) = {
            let record = &container.cell().record;
            (
                record.state.status == Status::Created,
                record.spec.auto_remove,
            )
        };
        if never_started && auto_remove {
            tracing::info!(
                container = container.id,
                "removing a container whose client vanished before its start"
            );
            if let Err(error) = self.remove_stopped(&container, true).await {
                tracing::error!(container = container.id, "{}", chain(&error));
            }
        } else {
            let shim = container.cell().shim.take();
            self.clean_up(&container, shim).await;
        }
    }
}
