//! Handing out addresses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use crate::network::Subnet;
use crate::network::address::{AddressPool, hardware_address, hardware_address_text};

fn subnet() -> Subnet {
    Subnet::new(Ipv4Addr::new(172, 17, 0, 0), 28)
}

#[test]
fn range_knows_its_own_addresses() {
    let subnet = Subnet::new(Ipv4Addr::new(172, 17, 3, 4), 16);
    assert_eq!(subnet.to_string(), "172.17.0.0/16");
    assert_eq!(subnet.gateway(), Ipv4Addr::new(172, 17, 0, 1));
    assert_eq!(subnet.broadcast(), Ipv4Addr::new(172, 17, 255, 255));
    assert!(subnet.contains(Ipv4Addr::new(172, 17, 9, 9)));
    assert!(!subnet.contains(Ipv4Addr::new(172, 18, 0, 1)));
}

#[test]
fn hardware_address_is_formed_as_docker_forms_it() {
    let mac = hardware_address(Ipv4Addr::new(172, 17, 0, 2));
    assert_eq!(hardware_address_text(mac), "02:42:ac:11:00:02");
}

#[test]
fn exhausted_range_gives_none_until_one_comes_back() {
    let mut pool = AddressPool::new(subnet());
    let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(all.len(), 13, "sixteen less network, gateway and broadcast");
    pool.release(all[5]);
    assert_eq!(pool.take(), Some(all[5]));
    assert_eq!(pool.take(), None);
}

#[test]
fn foreign_addresses_are_not_reserved() {
    let mut pool = AddressPool::new(subnet());
    for address in [
        [172, 17, 0, 0],
        [172, 17, 0, 1],
        [172, 17, 0, 15],
        [10, 0, 0, 2],
    ] {
        assert!(!pool.reserve(address.into()));
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
        let mut pool = AddressPool::new(subnet());
        let mut held = BTreeSet::new();
        for step in steps {
            match step {
                Step::Take => {
                    let lowest = (2..15).find(|last| !held.contains(last));
                    let taken = pool.take().map(|address| address.octets()[3]);
                    prop_assert_eq!(taken, lowest);
                    held.extend(taken);
                }
                Step::Reserve(last) => {
                    let free = (2..15).contains(&last) && !held.contains(&last);
                    prop_assert_eq!(pool.reserve([172, 17, 0, last].into()), free);
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
