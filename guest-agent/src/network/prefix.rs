//! Networks of either family, written as "172.18.0.0/16" or "fd00::/64".

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A network of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix {
    network: IpAddr,
    length: u8,
}

/// Text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrefixError {
    /// Not an address, a slash and a length.
    #[error("invalid CIDR block notation")]
    Malformed,
    /// Bits behind the prefix are set; holds the network without them.
    #[error("it should be {0}")]
    HostBits(Prefix),
}

/// Returns an address as a number; one of IPv4 is below 2^32.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Prefix {
    /// Returns the network that an address is in. A length that the family does
    /// not have is brought to its longest.
    pub(crate) fn of(address: IpAddr, length: u8) -> Self {
        let mut prefix = Self {
            network: address,
            length,
        };
        prefix.length = length.min(prefix.bits());
        let host = prefix.host_mask();
        prefix.network = prefix.with_number(number(address) & !host);
        prefix
    }

    /// Tells whether it is of IPv6.
    pub(crate) fn is_ipv6(self) -> bool {
        self.network.is_ipv6()
    }

    /// Returns the length of the prefix in bits.
    pub(crate) fn length(self) -> u8 {
        self.length
    }

    /// Returns the lowest address, which is the network's own.
    pub(crate) fn network(self) -> IpAddr {
        self.network
    }

    /// Returns the highest address, in IPv4 that of everybody.
    pub(crate) fn last(self) -> IpAddr {
        self.with_number(number(self.network) | self.host_mask())
    }

    /// Returns the address with this number behind the network's own; none
    /// where that is outside.
    pub(crate) fn nth(self, offset: u128) -> Option<IpAddr> {
        let found = self.with_number(number(self.network).checked_add(offset)?);
        (self.contains(found)).then_some(found)
    }

    /// Returns the next network of the same length, none at the end of all.
    pub(super) fn next(self) -> Option<Self> {
        let next = number(self.last()).checked_add(1)?;
        let fits = self.is_ipv6() || next <= u128::from(u32::MAX);
        fits.then(|| Self::of(self.with_number(next), self.length))
    }

    /// Tells whether the address is in the network.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4()
            && number(address) & !self.host_mask() == number(self.network)
    }

    /// Tells whether the other network lies in this one.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.network)
    }

    /// Tells whether any address is in both.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    fn bits(self) -> u8 {
        match self.network {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    fn host_mask(self) -> u128 {
        u128::MAX
            .checked_shr(u32::from(self.length) + 128 - u32::from(self.bits()))
            .unwrap_or(0)
    }

    /// Returns the address of this family with that number.
    pub(super) fn with_number(self, number: u128) -> IpAddr {
        match self.network {
            IpAddr::V4(_) => Ipv4Addr::from_bits(number as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.length)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = text.split_once('/').ok_or(PrefixError::Malformed)?;
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Malformed)?;
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u8 = length
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or(PrefixError::Malformed)?;
        let prefix = Self::of(address, length);
        if length != prefix.length {
            return Err(PrefixError::Malformed);
        }
        if prefix.network != address {
            return Err(PrefixError::HostBits(prefix));
        }
        Ok(prefix)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
