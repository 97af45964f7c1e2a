//! Changing a container that is there.

use wherry_proto::v1::UpdateContainerRequest;

use super::Containers;
use super::error::Error;
use super::policy::Policy;

impl Containers {
    /// Changes a container's restart policy.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a policy that is none.
    pub(crate) async fn update(
        &self,
        request: &UpdateContainerRequest,
    ) -> Result<Vec<String>, Error> {
        let container = self.find(&request.container)?;
        if let Some(name) = &request.restart_policy {
            let policy = Policy::parse(name, request.restart_retries)?;
            if policy != Policy::No && container.cell().record.spec.auto_remove {
                return Err(Error::Invalid(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container"
                        .to_owned(),
                ));
            }
            container.update(|record| {
                record.spec.restart_policy.clone_from(name);
                record.spec.restart_retries = request.restart_retries;
            })?;
        }
        self.publish(&container, "update", &[]);
        Ok(Vec::new())
    }
}
