//! What is left of networks whose containers have none.

use super::record::files;
use super::{Network, NetworkError};

impl Network {
    /// Tells whether a container has its network, or a namespace is left of it.
    pub(crate) fn holds(&self, id: &str) -> bool {
        let context = &self.shared.context;
        match context.record(id) {
            Some(record) => !record.leaving,
            None => context.netns(id).exists(),
        }
    }

    /// Returns the ids of the containers that have a network, or a namespace
    /// without a record of it.
    ///
    /// # Errors
    ///
    /// Where the folder of namespaces cannot be read.
    pub(crate) fn holders(&self) -> Result<Vec<String>, NetworkError> {
        let context = &self.shared.context;
        // First, because a record is written before its namespace is made.
        let namespaces = files(&context.netns_folder())?;
        let records = context.records();
        let named = namespaces
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .filter(|id| context.record(id).is_none());
        let named: Vec<String> = named.map(str::to_owned).collect();
        let attached = records.into_iter().filter(|record| !record.leaving);
        Ok(attached.map(|record| record.id).chain(named).collect())
    }

    /// Returns the network devices on the bridges that are no container's.
    pub(crate) fn stray_devices(&self) -> Vec<String> {
        self.shared.context.stray_ports().unwrap_or_default()
    }

    /// Removes a network device.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(crate) fn remove_device(&self, name: &str) -> Result<(), NetworkError> {
        super::bridge::remove_link(name)
    }
}
