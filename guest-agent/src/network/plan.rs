//! From what a user asks of a new network to its record, or Docker's words for
//! why not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::NetworkError;
use super::definition::{
    Definition, HOST_BINDING_OPTION, ICC_OPTION, INTERFACE_OPTION, MASQUERADE_OPTION, MTU_OPTION,
    Range, truth,
};
use super::prefix::Prefix;

/// What a user asks of a new network.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewNetwork {
    pub(crate) name: String,
    /// Empty is "bridge".
    pub(crate) driver: String,
    pub(crate) ranges: Vec<NewRange>,
    pub(crate) internal: bool,
    pub(crate) ipv6: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
}

/// A subnet of a new network, as the user wrote it; empty where he did not.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewRange {
    pub(crate) subnet: String,
    pub(crate) gateway: String,
    pub(crate) range: String,
    pub(crate) auxiliary: BTreeMap<String, String>,
}

/// The names that are always networks' of their own.
pub(super) const PREDEFINED: [&str; 4] = ["bridge", "host", "none", "default"];

/// What subnets are chosen from: a network, and the length of each of its
/// parts. Docker's come first; there are only thirty of them.
const POOLS: [(Ipv4Addr, u8, u8); 4] = [
    (Ipv4Addr::new(172, 16, 0, 0), 12, 16),
    (Ipv4Addr::new(192, 168, 0, 0), 16, 20),
    (Ipv4Addr::new(10, 128, 0, 0), 9, 20),
    (Ipv4Addr::new(100, 64, 0, 0), 10, 20),
];

/// Returns the record of a new network. `taken` are the subnets of the others
/// and of the guest, which none may overlap, `avoided` those of the host, which
/// none is chosen to overlap; `now` is in nanoseconds since 1970.
pub(super) fn plan(
    request: NewNetwork,
    id: String,
    now: i64,
    taken: &[Prefix],
    avoided: &[Prefix],
) -> Result<Definition, NetworkError> {
    check_name(&request.name)?;
    check_driver(&request.driver)?;
    let (mut ipv4, mut ipv6) = (None, None);
    for range in &request.ranges {
        let made = user_range(range).map_err(NetworkError::Invalid)?;
        let place = match made.subnet.is_ipv6() {
            true => &mut ipv6,
            false => &mut ipv4,
        };
        if place.replace(made).is_some() {
            return Err(NetworkError::Invalid(
                "bridge driver supports one subnet of IPv4 and one of IPv6: remove the others"
                    .to_owned(),
            ));
        }
    }
    if ipv6.is_some() && !request.ipv6 {
        // Docker takes the subnet for the wish.
        tracing::debug!(network = request.name, "an IPv6 subnet turns IPv6 on");
    }
    for Range { subnet, .. } in ipv4.iter().chain(&ipv6) {
        if let Some(other) = taken.iter().find(|taken| taken.overlaps(*subnet)) {
            return Err(NetworkError::Refused(format!(
                "invalid pool request: Pool overlaps with other one on this address space: {subnet} with {other}, which a network or the machine has"
            )));
        }
    }
    let free = |subnet: Prefix| {
        !taken
            .iter()
            .chain(avoided)
            .any(|other| other.overlaps(subnet))
    };
    let ipv4 = match ipv4 {
        Some(range) => range,
        None => Range::whole(chosen_subnet(taken, avoided)?),
    };
    if ipv6.is_none() && request.ipv6 {
        ipv6 = Some(Range::whole(unique_local(&id, free)?));
    }
    let mut definition = Definition::new(id, &request.name, now, ipv4);
    definition.ipv6 = ipv6;
    definition.internal = request.internal;
    definition.labels = request.labels;
    definition.options = request.options;
    apply_options(&mut definition)?;
    Ok(definition)
}

fn check_name(name: &str) -> Result<(), NetworkError> {
    if PREDEFINED.contains(&name) {
        return Err(NetworkError::Refused(format!(
            "operation is not permitted on predefined {name} network"
        )));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let valid = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 255
        && name.chars().all(plain);
    if valid {
        return Ok(());
    }
    Err(NetworkError::Invalid(format!(
        "invalid network name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, and at most 255 of them"
    )))
}

fn check_driver(driver: &str) -> Result<(), NetworkError> {
    match driver {
        "" | "bridge" | "default" => Ok(()),
        "macvlan" | "ipvlan" => Err(NetworkError::Refused(format!(
            "the {driver} driver is not supported: it puts containers on the network of a card, and the machine's card is behind the host, whose network they would not reach: use a bridge and publish ports"
        ))),
        "overlay" => Err(NetworkError::Refused(
            "the overlay driver is not supported: it needs a swarm, and Wherry has none: use a bridge"
                .to_owned(),
        )),
        "host" | "null" | "none" => Err(NetworkError::Refused(format!(
            "only one instance of \"{driver}\" network is allowed"
        ))),
        other => Err(NetworkError::Invalid(format!(
            "could not resolve driver {other} in v1 plugin registry: plugin {other:?} not found: the drivers are bridge, host and none"
        ))),
    }
}

/// Checks what the user wrote of one subnet.
fn user_range(request: &NewRange) -> Result<Range, String> {
    let wrong = |why: String| format!("invalid network config:\n{why}");
    let text = &request.subnet;
    if text.is_empty() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    let subnet: Prefix = text
        .parse()
        .map_err(|error| wrong(format!("invalid subnet {text}: {error}")))?;
    if subnet.length() == 0 || subnet.length() > if subnet.is_ipv6() { 126 } else { 30 } {
        return Err(wrong(format!(
            "invalid subnet {text}: it has no room for a gateway and a container: a prefix is of 1 to {} bits",
            if subnet.is_ipv6() { 126 } else { 30 }
        )));
    }
    let network = subnet.network();
    let unusable = match network {
        IpAddr::V4(network) => {
            network.is_loopback() || network.is_multicast() || network.is_unspecified()
        }
        IpAddr::V6(network) => {
            network.is_loopback() || network.is_multicast() || network.is_unspecified()
        }
    };
    if unusable {
        return Err(wrong(format!(
            "invalid subnet {text}: its addresses are nobody's own: use a private one, for example 10.10.0.0/24"
        )));
    }
    let mut range = Range::whole(subnet);
    range.configured = true;
    if !request.range.is_empty() {
        range.range = Some(part(subnet, &request.range).map_err(wrong)?);
    }
    if !request.gateway.is_empty() {
        let text = &request.gateway;
        range.gateway =
            member(subnet, text).map_err(|why| wrong(format!("invalid gateway {text}: {why}")))?;
    }
    for (name, text) in &request.auxiliary {
        let address = member(subnet, text)
            .map_err(|why| wrong(format!("invalid auxiliary address {text}: {why}")))?;
        let twice =
            address == range.gateway || range.auxiliary.values().any(|other| *other == address);
        if twice {
            return Err(wrong(format!(
                "invalid auxiliary address {text}: Address already in use"
            )));
        }
        range.auxiliary.insert(name.clone(), address);
    }
    Ok(range)
}

fn part(subnet: Prefix, text: &str) -> Result<Prefix, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("invalid ip-range {text}: {why}");
    let range: Prefix = text.parse().map_err(|error| wrong(&error))?;
    if range.is_ipv6() != subnet.is_ipv6() {
        let family = if subnet.is_ipv6() { "IPv6" } else { "IPv4" };
        return Err(wrong(&format!("parent subnet is an {family} block")));
    }
    if range.length() < subnet.length() {
        return Err(wrong(&format!(
            "CIDR block is bigger than its parent subnet {subnet}"
        )));
    }
    if !subnet.covers(range) {
        return Err(wrong(&format!(
            "parent subnet {subnet} doesn't contain ip-range"
        )));
    }
    Ok(range)
}

/// Reads an address that somebody in the subnet can have.
fn member(subnet: Prefix, text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if !subnet.contains(address) {
        return Err(format!(
            "parent subnet {subnet} doesn't contain this address"
        ));
    }
    if address == subnet.network() || (!subnet.is_ipv6() && address == subnet.last()) {
        return Err(format!("it is the network's own in {subnet}"));
    }
    Ok(address)
}

/// Returns a subnet that overlaps none of `taken`, and none of `avoided` either as
/// long as there is one.
fn chosen_subnet(taken: &[Prefix], avoided: &[Prefix]) -> Result<Prefix, NetworkError> {
    let clear = |of: &[Prefix], subnet| !of.iter().any(|other| other.overlaps(subnet));
    if let Some(subnet) = free_subnet(|subnet| clear(taken, subnet) && clear(avoided, subnet)) {
        return Ok(subnet);
    }
    // A VPN that leads to all private addresses leaves none. One that hides a few
    // hosts behind it is better than no network, and its owner can choose another.
    let subnet = free_subnet(|subnet| clear(taken, subnet)).ok_or_else(|| {
        NetworkError::Refused(
            "all predefined address pools have been fully subnetted: give a --subnet, or remove networks that are not needed"
                .to_owned(),
        )
    })?;
    tracing::warn!(%subnet, "the host has routes to all private addresses: a new network overlaps one of its networks");
    Ok(subnet)
}

/// Returns the first subnet of the pools that is free.
pub(super) fn free_subnet(free: impl Fn(Prefix) -> bool) -> Option<Prefix> {
    for (network, length, part) in POOLS {
        let pool = Prefix::of(network.into(), length);
        let mut subnet = Some(Prefix::of(network.into(), part));
        while let Some(candidate) = subnet.filter(|candidate| pool.covers(*candidate)) {
            // Docker's begin behind its own.
            let before_dockers =
                length == 12 && candidate.network() < IpAddr::from([172, 17, 0, 0]);
            if !before_dockers && free(candidate) {
                return Some(candidate);
            }
            subnet = candidate.next();
        }
    }
    None
}

/// Returns a subnet of fd00::/8 made of the network's id, which is random, as
/// RFC 4193 (3.2) wants.
fn unique_local(id: &str, free: impl Fn(Prefix) -> bool) -> Result<Prefix, NetworkError> {
    let digits = id.get(..14).unwrap_or_default();
    let mut random = u64::from_str_radix(digits, 16).unwrap_or(1);
    for _ in 0..256 {
        let network = (0xfd << 56 | (random & 0x00ff_ffff_ffff_ffff)) as u128;
        let subnet = Prefix::of(Ipv6Addr::from_bits(network << 64).into(), 64);
        if free(subnet) {
            return Ok(subnet);
        }
        random = random.wrapping_add(1);
    }
    Err(NetworkError::Refused(
        "no IPv6 subnet is free: give one with --subnet".to_owned(),
    ))
}

fn apply_options(definition: &mut Definition) -> Result<(), NetworkError> {
    if let Some(name) = definition.options.get(INTERFACE_OPTION) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let valid =
            (1..=15).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.');
        if !valid {
            return Err(NetworkError::Invalid(format!(
                "invalid interface name {name:?} in {INTERFACE_OPTION}: use at most 15 letters, digits, dashes and dots"
            )));
        }
        definition.interface.clone_from(name);
    }
    for flag in [ICC_OPTION, MASQUERADE_OPTION] {
        let value = definition.options.get(flag).map_or("true", String::as_str);
        if truth(value).is_none() {
            return Err(NetworkError::Invalid(format!(
                "invalid value {value:?} of {flag}: write true or false"
            )));
        }
    }
    if let Some(address) = definition.host_binding()
        && address.parse::<std::net::Ipv4Addr>().is_err()
    {
        return Err(NetworkError::Invalid(format!(
            "invalid value {address:?} of {HOST_BINDING_OPTION}: give an IPv4 address of the host"
        )));
    }
    match definition.options.get(MTU_OPTION) {
        Some(text)
            if !text
                .parse()
                .is_ok_and(|mtu: u32| (68..=65535).contains(&mtu)) =>
        {
            Err(NetworkError::Invalid(format!(
                "invalid value {text:?} of {MTU_OPTION}: give the bytes of a packet, 68 to 65535"
            )))
        }
        _ => Ok(()),
    }
}
