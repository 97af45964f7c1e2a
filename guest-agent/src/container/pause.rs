//! Holding a container where it is, and letting it go on.

use super::error::Error;
use super::record::Status;
use super::{Container, Containers, chain};
use crate::runtime::{FailureKind, ShimError};

impl Container {
    /// Tells whether its processes are held.
    pub(super) fn is_paused(&self) -> bool {
        self.cell().record.state.paused
    }

    /// Refuses what a paused container cannot do, with the way out.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when it is paused.
    pub(super) fn not_paused(&self, advice: &str) -> Result<(), Error> {
        if self.is_paused() {
            let name = self.name();
            return Err(Error::State(format!(
                "container {name} is paused: {advice}"
            )));
        }
        Ok(())
    }
}

impl Containers {
    /// Holds every process of a container.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when it does not run or is paused already.
    pub(crate) async fn pause(&self, reference: &str) -> Result<(), Error> {
        let container = self.find(reference)?;
        let _turn = container.turn.clone().lock_owned().await;
        if container.is_paused() {
            return Err(state(&container, "is already paused"));
        }
        if container.status() == Status::Restarting {
            let what = "is restarting, wait until the container is running";
            return Err(state(&container, what));
        }
        self.freeze(&container, true).await?;
        self.publish(&container, "pause", &[]);
        Ok(())
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when it is not paused.
    pub(crate) async fn unpause(&self, reference: &str) -> Result<(), Error> {
        let container = self.find(reference)?;
        let _turn = container.turn.clone().lock_owned().await;
        if !container.is_paused() {
            return Err(state(&container, "is not paused"));
        }
        self.resume(&container).await
    }

    /// Lets a paused container go on. Fine if it has ended meanwhile.
    pub(super) async fn resume(&self, container: &Container) -> Result<(), Error> {
        match self.freeze(container, false).await {
            Err(_) if container.status() != Status::Running => return Ok(()),
            // It has ended, which is not on record yet.
            Err(Error::State(_)) => return Ok(()),
            result => result?,
        }
        self.publish(container, "unpause", &[]);
        Ok(())
    }

    pub(super) async fn freeze(&self, container: &Container, frozen: bool) -> Result<(), Error> {
        let shim = container.cell().shim.clone();
        let shim = shim.filter(|_| container.status() == Status::Running);
        let shim = shim.ok_or_else(|| state(container, "is not running"))?;
        shim.freeze(frozen).await.map_err(|error| match error {
            // Its end is not on record yet.
            ShimError::Gone
            | ShimError::Refused {
                kind: FailureKind::WrongState,
                ..
            } => state(container, "is not running"),
            error => Error::Internal(format!(
                "cannot {} container {}: {}",
                if frozen { "pause" } else { "unpause" },
                container.name(),
                chain(&error)
            )),
        })?;
        container.update(|record| {
            // It may have ended since.
            record.state.paused = frozen && record.state.status == Status::Running;
        })
    }
}

fn state(container: &Container, what: &str) -> Error {
    Error::State(format!("Container {} {what}", container.name()))
}
