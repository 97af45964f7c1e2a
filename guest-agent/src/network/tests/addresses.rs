//! Handing out addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use crate::network::Subnet;
use crate::network::address::{hardware_address, hardware_address_text, parse_hardware_address};
use crate::network::definition::Range;
use crate::network::pool::{AddressPool, Refusal};
use crate::network::prefix::{Prefix, PrefixError};

fn pool() -> AddressPool {
    AddressPool::new(&Range::whole("172.17.0.0/28".parse().unwrap()))
}

fn last(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => panic!("{address}"),
    }
}

#[test]
fn range_knows_its_own_addresses() {
    let subnet = Subnet::new(Ipv4Addr::new(172, 17, 3, 4), 16);
    assert_eq!(subnet.prefix().to_string(), "172.17.0.0/16");
    assert_eq!(subnet.gateway(), Ipv4Addr::new(172, 17, 0, 1));
    let prefix = subnet.prefix();
    assert_eq!(prefix.last(), IpAddr::from([172, 17, 255, 255]));
    assert!(prefix.contains([172, 17, 9, 9].into()));
    assert!(!prefix.contains([172, 18, 0, 1].into()));
    assert!(!prefix.contains("::ac11:909".parse().unwrap()));
}

#[test]
fn prefixes_are_read_strictly() {
    for text in [
        "10.0.0.0/8",
        "0.0.0.0/0",
        "::/0",
        "fd00::/64",
        "10.1.2.3/32",
    ] {
        assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "/",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "fd00::/129",
        "10.0.0.0/+8",
        "10.0.0/8",
        "x/8",
        "10.0.0.0/8/8",
    ] {
        assert_eq!(
            text.parse::<Prefix>(),
            Err(PrefixError::Malformed),
            "{text}"
        );
    }
    let error = "172.18.0.5/16".parse::<Prefix>().unwrap_err();
    assert_eq!(error.to_string(), "it should be 172.18.0.0/16");
}

#[test]
fn addresses_come_of_the_range_without_what_is_kept() {
    let mut range = Range::whole("10.1.0.0/24".parse().unwrap());
    range.range = Some("10.1.0.252/30".parse().unwrap());
    range
        .auxiliary
        .insert("router".to_owned(), [10, 1, 0, 253].into());
    let mut pool = AddressPool::new(&range);
    let all: Vec<_> = std::iter::from_fn(|| pool.take()).map(last).collect();
    assert_eq!(all, [252, 254]);
    assert_eq!(
        pool.reserve([10, 1, 0, 7].into()),
        Ok(()),
        "of the subnet, if not of the range"
    );
    assert_eq!(pool.reserve([10, 1, 0, 253].into()), Err(Refusal::Taken));
    pool.release([10, 1, 0, 253].into());
    assert_eq!(pool.take(), None, "kept for ever");
}

#[test]
fn addresses_of_ipv6_come_in_order_too() {
    let mut pool = AddressPool::new(&Range::whole("fd00::/126".parse().unwrap()));
    let all: Vec<_> = std::iter::from_fn(|| pool.take())
        .map(|address| address.to_string())
        .collect();
    assert_eq!(all, ["fd00::2", "fd00::3"]);
    assert_eq!(
        pool.reserve("fd00::".parse().unwrap()),
        Err(Refusal::Outside)
    );
}

#[test]
fn hardware_address_is_formed_as_docker_forms_it() {
    let mac = hardware_address(Ipv4Addr::new(172, 17, 0, 2));
    assert_eq!(hardware_address_text(mac), "02:42:ac:11:00:02");
    assert_eq!(parse_hardware_address("02:42:AC-11:00:02"), Some(mac));
    for text in [
        "",
        "02:42:ac:11:00",
        "02:42:ac:11:00:02:03",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "2:42:ac:11:0:2",
    ] {
        assert_eq!(parse_hardware_address(text), None, "{text}");
    }
}

#[test]
fn exhausted_range_gives_none_until_one_comes_back() {
    let mut pool = pool();
    let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(all.len(), 13, "sixteen less network, gateway and broadcast");
    pool.release(all[5]);
    assert_eq!(pool.take(), Some(all[5]));
    assert_eq!(pool.take(), None);
}

#[test]
fn foreign_addresses_are_not_reserved() {
    let mut pool = pool();
    for address in [
        [172, 17, 0, 0],
        [172, 17, 0, 1],
        [172, 17, 0, 15],
        [10, 0, 0, 2],
    ] {
        assert!(pool.reserve(address.into()).is_err());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Take,
    Reserve(u8),
    Release(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Take),
        1 => (0..18_u8).prop_map(Step::Reserve),
        2 => (0..18_u8).prop_map(Step::Release),
    ]
}

proptest! {
    #[test]
    fn address_is_the_lowest_free_one_and_never_given_twice(
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut pool = pool();
        let mut held = BTreeSet::new();
        for step in steps {
            match step {
                Step::Take => {
                    let lowest = (2..15).find(|last| !held.contains(last));
                    let taken = pool.take().map(last);
                    prop_assert_eq!(taken, lowest);
                    held.extend(taken);
                }
                Step::Reserve(last) => {
                    let free = (2..15).contains(&last) && !held.contains(&last);
                    prop_assert_eq!(pool.reserve([172, 17, 0, last].into()).is_ok(), free);
                    if free {
                        held.insert(last);
                    }
                }
                Step::Release(last) => {
                    pool.release([172, 17, 0, last].into());
                    held.remove(&last);
                }
            }
        }
    }
}
