//! Changing a container that is there.

use wherry_proto::v1::{Resources, UpdateContainerRequest};

use super::error::Error;
use super::policy::Policy;
use super::record::Status;
use super::{Container, Containers, limits};
use crate::runtime::Cgroup;

impl Containers {
    /// Changes a container's limits and restart policy; the limits of a running
    /// one at once. Returns what the user should know.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what cannot be, before anything is changed.
    pub(crate) async fn update(
        &self,
        request: &UpdateContainerRequest,
    ) -> Result<Vec<String>, Error> {
        let container = self.find(&request.container)?;
        // Not while it starts or ends.
        let _turn = container.turn.clone().lock_owned().await;
        let policy = request
            .restart_policy
            .as_ref()
            .map(|name| Policy::parse(name, request.restart_retries))
            .transpose()?;
        let removes_itself = container.cell().record.spec.auto_remove;
        if removes_itself && policy.is_some_and(|policy| policy != Policy::No) {
            return Err(Error::Invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
                    .to_owned(),
            ));
        }
        let mut warnings = Vec::new();
        if let Some(update) = &request.resources {
            warnings = limits::warnings(&self.weights, update);
            self.limit(&container, update).await?;
        }
        if let Some(name) = &request.restart_policy {
            container.update(|record| {
                record.spec.restart_policy.clone_from(name);
                record.spec.restart_retries = request.restart_retries;
            })?;
        }
        self.publish(&container, "update", &[]);
        Ok(warnings)
    }

    async fn limit(&self, container: &Container, update: &Resources) -> Result<(), Error> {
        let known = container.cell().record.spec.resources.clone();
        let known = known.unwrap_or_default();
        if update.memory != 0
            && update.memory_swap == 0
            && known.memory_swap > 0
            && update.memory > known.memory_swap.unsigned_abs()
        {
            return Err(Error::Invalid(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
                    .to_owned(),
            ));
        }
        let merged = limits::merged(&known, update);
        limits::check(&merged)?;
        if container.status() == Status::Running {
            let cgroup = Cgroup::new(&self.cgroup(&container.id));
            let usage = cgroup.number("memory.current");
            if update.memory != 0 && usage > update.memory {
                return Err(Error::State(format!(
                    "unable to set memory limit to {} (current usage: {usage})",
                    update.memory
                )));
            }
            limits::apply(&cgroup, &merged)?;
            self.weigh(&container.id, &merged).await?;
        }
        container.update(|record| record.spec.resources = Some(merged))
    }
}
