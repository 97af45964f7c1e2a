//! Handing addresses of a network out in order.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::definition::Range;
use super::prefix::{Prefix, number};

/// The addresses of one family of a network that are in use.
#[derive(Debug)]
pub(super) struct AddressPool {
    subnet: Prefix,
    /// The lowest and the highest address that are handed out.
    first: u128,
    last: u128,
    /// Never a container's: the gateway, and what the user keeps for others.
    kept: BTreeSet<u128>,
    used: BTreeSet<u128>,
    /// Every address from the first to before this one is in use or kept.
    full_below: u128,
}

/// Why an address cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not one of the network's, or the network's own.
    Outside,
    /// Somebody has it.
    Taken,
}

impl AddressPool {
    /// Returns a pool with no address in use.
    pub(super) fn new(range: &Range) -> Self {
        let subnet = range.subnet;
        let given = range.range.unwrap_or(subnet);
        let first = number(given.network()).max(number(subnet.network()) + 1);
        let last = number(given.last()).min(Self::highest(subnet));
        let kept = std::iter::once(&range.gateway).chain(range.auxiliary.values());
        Self {
            subnet,
            first,
            last,
            kept: kept.map(|address| number(*address)).collect(),
            used: BTreeSet::new(),
            full_below: first,
        }
    }

    /// The last address of an IPv4 network is everybody's.
    fn highest(subnet: Prefix) -> u128 {
        number(subnet.last()) - u128::from(!subnet.is_ipv6())
    }

    /// Takes the lowest free address, as Docker does.
    pub(super) fn take(&mut self) -> Option<IpAddr> {
        let mut candidate = self.full_below;
        while self.kept.contains(&candidate) || self.used.contains(&candidate) {
            candidate = candidate.checked_add(1)?;
        }
        if candidate > self.last {
            return None;
        }
        self.used.insert(candidate);
        self.full_below = candidate.saturating_add(1);
        Some(self.subnet.with_number(candidate))
    }

    /// Takes this address, which may be outside the range that addresses are
    /// handed out of.
    pub(super) fn reserve(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let place = number(address);
        let inside = self.subnet.contains(address)
            && place > number(self.subnet.network())
            && place <= Self::highest(self.subnet);
        if !inside {
            return Err(Refusal::Outside);
        }
        if self.kept.contains(&place) || !self.used.insert(place) {
            return Err(Refusal::Taken);
        }
        Ok(())
    }

    /// Gives an address back.
    pub(super) fn release(&mut self, address: IpAddr) {
        let place = number(address);
        if self.subnet.contains(address) && self.used.remove(&place) && place >= self.first {
            self.full_below = self.full_below.min(place);
        }
    }
}
