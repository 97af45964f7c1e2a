//! The names that the embedded server knows itself.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{PoisonError, RwLock};

use super::super::Subnet;
use super::super::files::HOST_NAMES;

/// How many containers of the same name are told in one answer.
const ADDRESSES_IN_AN_ANSWER: usize = 16;

/// The names of the running containers and of the host.
#[derive(Debug)]
pub(in crate::network) struct Zone {
    subnet: Option<Subnet>,
    host: Ipv4Addr,
    containers: RwLock<Containers>,
}

#[derive(Debug, Default)]
struct Containers {
    by_name: HashMap<String, Vec<Ipv4Addr>>,
    /// The names in the order in which the container gave them.
    by_address: HashMap<Ipv4Addr, Vec<String>>,
}

impl Zone {
    /// Returns a zone that knows the host only, and that addresses of `subnet`
    /// are nobody else's.
    pub(in crate::network) fn new(subnet: Option<Subnet>, host: Ipv4Addr) -> Self {
        Self {
            subnet,
            host,
            containers: RwLock::default(),
        }
    }

    /// Enters a container. Names are in lower case.
    pub(in crate::network) fn insert(&self, address: Ipv4Addr, names: &[String]) {
        self.remove(address);
        let mut containers = self
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for name in names {
            containers
                .by_name
                .entry(name.clone())
                .or_default()
                .push(address);
        }
        containers.by_address.insert(address, names.to_vec());
    }

    /// Strikes a container out.
    pub(in crate::network) fn remove(&self, address: Ipv4Addr) {
        let mut containers = self
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for name in containers.by_address.remove(&address).unwrap_or_default() {
            if let Some(addresses) = containers.by_name.get_mut(&name) {
                addresses.retain(|other| *other != address);
                if addresses.is_empty() {
                    containers.by_name.remove(&name);
                }
            }
        }
    }

    /// Returns the addresses of a name in lower case without a final dot, none
    /// if it is not ours. A container cannot take the host's names.
    pub(super) fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        if HOST_NAMES.contains(&name) {
            return Some(vec![self.host]);
        }
        let containers = self
            .containers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let addresses = containers.by_name.get(name)?;
        Some(
            addresses
                .iter()
                .copied()
                .take(ADDRESSES_IN_AN_ANSWER)
                .collect(),
        )
    }

    /// Returns the name of an address of ours: the first that its container
    /// gave, none if no container has it. The outer none is an address that
    /// others answer for.
    pub(super) fn name(&self, address: Ipv4Addr) -> Option<Option<String>> {
        if !self.subnet.is_some_and(|subnet| subnet.contains(address)) {
            return None;
        }
        let containers = self
            .containers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Some(
            containers
                .by_address
                .get(&address)
                .and_then(|names| names.first().cloned()),
        )
    }
}
