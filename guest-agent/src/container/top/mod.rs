//! A container's processes, listed as ps does.

mod columns;
mod process;

use wherry_proto::v1::{TopProcess, TopResponse};

use super::Containers;
use super::error::Error;
use super::record::Status;
use crate::runtime::Cgroup;

use process::{Machine, Process};

impl Containers {
    /// Lists the processes of a running container.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when it does not run, [`Error::Invalid`] for arguments
    /// that are not understood.
    pub(crate) fn top(&self, reference: &str, arguments: &[String]) -> Result<TopResponse, Error> {
        let columns = columns::parse(arguments).map_err(Error::Invalid)?;
        let container = self.find(reference)?;
        if container.status() != Status::Running {
            return Err(Error::State(format!(
                "container {} is not running",
                container.name()
            )));
        }
        let machine = Machine::now();
        let cgroup = Cgroup::new(&self.cgroup(&container.id));
        let processes = cgroup.processes().into_iter().filter_map(Process::read);
        let rows = processes.map(|process| TopProcess {
            fields: columns
                .iter()
                .map(|column| (column.show)(&process, &machine))
                .collect(),
        });
        let response = TopResponse {
            processes: rows.collect(),
            titles: columns.iter().map(|column| column.title.clone()).collect(),
        };
        self.publish(&container, "top", &[]);
        Ok(response)
    }
}
