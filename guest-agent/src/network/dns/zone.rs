//! The names of one network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use super::super::prefix::Prefix;

/// How many containers of the same name are told in one answer.
const ADDRESSES_IN_AN_ANSWER: usize = 16;

/// The names of the containers that are on a network.
#[derive(Debug)]
pub(in crate::network) struct Zone {
    /// The network's name, in lower case.
    name: String,
    subnets: Vec<Prefix>,
    containers: RwLock<Containers>,
}

#[derive(Debug, Default)]
struct Containers {
    by_name: HashMap<String, Vec<IpAddr>>,
    /// The names in the order in which the container gave them.
    by_address: HashMap<IpAddr, Vec<String>>,
}

impl Zone {
    /// Returns a zone without containers, and in which addresses of `subnets`
    /// are nobody else's.
    pub(in crate::network) fn new(name: &str, subnets: Vec<Prefix>) -> Self {
        Self {
            name: name.to_lowercase(),
            subnets,
            containers: RwLock::default(),
        }
    }

    /// Enters one address of a container. Names are in lower case.
    pub(in crate::network) fn insert(&self, address: IpAddr, names: &[String]) {
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

    /// Strikes an address out.
    pub(in crate::network) fn remove(&self, address: IpAddr) {
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

    /// Returns the addresses of a name in lower case without a final dot, which
    /// the network's may follow; none if it is not of this zone.
    pub(super) fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let containers = self
            .containers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let short = || name.strip_suffix(&self.name)?.strip_suffix('.');
        let addresses = containers
            .by_name
            .get(name)
            .or_else(|| containers.by_name.get(short()?))?;
        Some(addresses.clone())
    }

    /// Returns the name of an address of ours: the first that its container
    /// gave, none if no container has it. The outer none is an address that
    /// others answer for.
    pub(super) fn name(&self, address: IpAddr) -> Option<Option<String>> {
        if !self.subnets.iter().any(|subnet| subnet.contains(address)) {
            return None;
        }
        let containers = self
            .containers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let names = containers.by_address.get(&address);
        Some(names.and_then(|names| names.first().cloned()))
    }

    /// Returns the network's name.
    pub(super) fn network(&self) -> &str {
        &self.name
    }
}

/// Brings addresses to as many as an answer may hold.
pub(super) fn shortened(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.truncate(ADDRESSES_IN_AN_ANSWER);
    addresses
}
