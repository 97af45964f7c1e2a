//! Containers in the guest's own network, whose ports appear on the host by
//! themselves.

use std::path::PathBuf;

use wherry_proto::v1::PortBinding;

use super::error::Error;
use super::record::Status;
use super::{Containers, validate};
use crate::runtime::Cgroup;

impl Containers {
    /// Notes where the host has the ports of a container in the guest's own
    /// network.
    ///
    /// # Errors
    ///
    /// No such container, one of another network, or one that does not run.
    pub(crate) fn note_ports(&self, id: &str, ports: Vec<PortBinding>) -> Result<(), Error> {
        validate::ports(&ports)?;
        let container = self.find(id)?;
        if container.record().spec.network != "host" {
            return Err(Error::Invalid(format!(
                "container {id} is not in the guest's own network"
            )));
        }
        container.update(|record| {
            if record.state.status == Status::Running {
                record.state.ports = ports;
            }
        })
    }

    /// Returns the containers in the guest's own network that run, and their
    /// cgroups.
    pub(crate) fn in_own_network(&self) -> Vec<(String, PathBuf)> {
        let containers = self.registry().all();
        let running = containers.iter().filter(|container| {
            let cell = container.cell();
            cell.record.state.status == Status::Running && cell.record.spec.network == "host"
        });
        running
            .map(|container| {
                let cgroup = Cgroup::new(&self.cgroup(&container.id));
                (container.id.clone(), cgroup.path().to_owned())
            })
            .collect()
    }
}
