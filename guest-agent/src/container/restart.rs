//! Restarting a container because someone asks for it.

use std::sync::Arc;

use wherry_proto::v1::PortBinding;

use super::error::Error;
use super::{Containers, stop, to_the_end, validate};

impl Containers {
    /// Stops a container where it runs and starts it again. One that removes
    /// itself stays for that.
    ///
    /// # Errors
    ///
    /// Those of a stop and of a start.
    pub(crate) async fn restart(
        self: &Arc<Self>,
        reference: &str,
        patience: Option<u32>,
        signal: &str,
        ports: Vec<PortBinding>,
    ) -> Result<(), Error> {
        validate::ports(&ports)?;
        let signal = stop::given(signal)?;
        let container = self.find(reference)?;
        let containers = self.clone();
        to_the_end(async move {
            container.cell().stays = true;
            let stopped = containers.stop_now(&container, patience, signal).await;
            let restarted = match stopped {
                Ok(()) => containers.start_now(&container, ports).await,
                Err(error) => Err(error),
            };
            container.cell().stays = false;
            restarted?;
            containers.publish(&container, "restart", &[]);
            Ok(())
        })
        .await
    }
}
