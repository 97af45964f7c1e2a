//! Ranges of addresses, and handing them out in order.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    network: u32,
    prefix_length: u8,
}

impl Subnet {
    /// Returns the network that `address` is in. The prefix is 8 to 30 bits
    /// long; what is outside that is brought to the nearest.
    pub(crate) fn new(address: Ipv4Addr, prefix_length: u8) -> Self {
        let prefix_length = prefix_length.clamp(8, 30);
        let network = address.to_bits() & (u32::MAX << (32 - prefix_length));
        Self {
            network,
            prefix_length,
        }
    }

    /// Returns the first address, which is the bridge's own.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + 1)
    }

    /// Returns the length of the prefix in bits.
    pub(crate) fn prefix_length(self) -> u8 {
        self.prefix_length
    }

    /// Returns the address that reaches every host of the network.
    pub(crate) fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network | (u32::MAX >> self.prefix_length))
    }

    /// Tells whether the address is in the network.
    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        Self::new(address, self.prefix_length) == self
    }

    /// Tells whether a container may have the address.
    fn assignable(self, address: Ipv4Addr) -> bool {
        self.contains(address) && address > self.gateway() && address < self.broadcast()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}/{}",
            Ipv4Addr::from_bits(self.network),
            self.prefix_length
        )
    }
}

/// The addresses of a range that are in use.
#[derive(Debug)]
pub(super) struct AddressPool {
    subnet: Subnet,
    used: BTreeSet<u32>,
    /// Every address between the gateway and this one is in use.
    full_below: u32,
}

impl AddressPool {
    /// Returns a pool with no address in use.
    pub(super) fn new(subnet: Subnet) -> Self {
        Self {
            subnet,
            used: BTreeSet::new(),
            full_below: subnet.gateway().to_bits() + 1,
        }
    }

    /// Takes the lowest free address, as Docker does.
    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        let last = self.subnet.broadcast().to_bits() - 1;
        let mut candidate = self.full_below;
        for used in self.used.range(candidate..) {
            if *used != candidate {
                break;
            }
            candidate += 1;
        }
        if candidate > last {
            return None;
        }
        self.used.insert(candidate);
        self.full_below = candidate + 1;
        Some(Ipv4Addr::from_bits(candidate))
    }

    /// Takes this address; false if it is in use or not of the range.
    pub(super) fn reserve(&mut self, address: Ipv4Addr) -> bool {
        self.subnet.assignable(address) && self.used.insert(address.to_bits())
    }

    /// Gives an address back.
    pub(super) fn release(&mut self, address: Ipv4Addr) {
        if self.used.remove(&address.to_bits()) {
            self.full_below = self.full_below.min(address.to_bits());
        }
    }
}

/// Returns the hardware address that goes with an address, as Docker forms it:
/// 02:42 and the four bytes. The same address always has the same one, so a
/// neighbour's cache is never wrong about it.
pub(super) fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// Returns a hardware address as text.
pub(super) fn hardware_address_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
