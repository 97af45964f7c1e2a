//! Waiting for a container's end.

use super::record::Status;
use super::{Container, Phase};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// That it does not run; holds at once for one that never did.
    NotRunning,
    /// That it ends once more from now on.
    NextExit,
    /// That it is gone.
    Removed,
}

impl Container {
    /// Returns when the condition holds. A container that is removed meets all.
    pub(crate) async fn wait(&self, condition: Condition) -> Phase {
        let mut watch = self.watch();
        let exits = watch.borrow().exits;
        let holds = |phase: &Phase| {
            phase.removed
                || match condition {
                    Condition::NotRunning => phase.status != Status::Running,
                    Condition::NextExit => phase.exits > exits,
                    Condition::Removed => false,
                }
        };
        match watch.wait_for(holds).await {
            Ok(phase) => phase.clone(),
            // The sender is in `self`.
            Err(_) => self.phase.borrow().clone(),
        }
    }
}
