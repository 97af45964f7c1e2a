//! `rm --link`: taking away a name that one container has for another.

use std::sync::Arc;

use super::network_error;
use super::wanted::link;
use crate::container::error::Error;
use crate::container::{Containers, to_the_end};

impl Containers {
    /// Takes a link away, written `/CONTAINER/ALIAS`: the container's name for
    /// another one, at once where it runs.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name without an alias, [`Error::NotFound`].
    pub(crate) async fn remove_link(self: &Arc<Self>, name: &str) -> Result<(), Error> {
        let full = name.trim_start_matches('/').to_owned();
        let Some((parent, alias)) = full.split_once('/') else {
            return Err(Error::Invalid(
                "Conflict, cannot remove the default link name of the container: write /CONTAINER/ALIAS"
                    .to_owned(),
            ));
        };
        let (container, alias) = (self.find(parent)?, alias.to_owned());
        let containers = self.clone();
        to_the_end(async move {
            let _turn = container.turn.clone().lock_owned().await;
            let mut networks = container.record().spec.networks;
            let count = |networks: &[wherry_proto::v1::NetworkAttachment]| {
                networks.iter().map(|on| on.links.len()).sum::<usize>()
            };
            let before = count(&networks);
            for attachment in &mut networks {
                attachment.links.retain(|text| link(text).1 != alias);
            }
            if count(&networks) == before {
                return Err(Error::NotFound(full));
            }
            container.update(|record| record.spec.networks = networks)?;
            containers
                .network
                .unlink(&container.id, &alias)
                .map_err(network_error)
        })
        .await
    }
}
