//! The guest's own IPv4 networks, and hardware addresses.

use std::fmt;
use std::net::Ipv4Addr;

use super::prefix::Prefix;

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

    /// Returns the same network as one of either family.
    pub(crate) fn prefix(self) -> Prefix {
        Prefix::of(Ipv4Addr::from_bits(self.network).into(), self.prefix_length)
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

/// Reads a hardware address, "02:42:ac:11:00:02" or with dashes; one that names
/// a single card, for only such can be a container's.
pub(crate) fn parse_hardware_address(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    let whole = parts.next().is_none() && mac[0] & 1 == 0 && mac != [0; 6];
    whole.then_some(mac)
}
