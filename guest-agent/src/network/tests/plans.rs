//! Where a network goes whose user chose no subnet.

use super::super::NewNetwork;
use super::super::plan::plan;
use super::super::prefix::Prefix;

fn chosen(taken: &[&str], avoided: &[&str]) -> Result<String, String> {
    let prefixes = |texts: &[&str]| -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let request = NewNetwork {
        name: "front".to_owned(),
        ..NewNetwork::default()
    };
    let id = "ab".repeat(32);
    plan(request, id, 0, &prefixes(taken), &prefixes(avoided))
        .map(|network| network.ipv4.subnet.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn a_chosen_subnet_keeps_clear_of_the_guests_networks_and_the_hosts() {
    assert_eq!(
        chosen(&["172.17.0.0/16"], &["172.18.4.0/24", "10.0.0.0/8"]),
        Ok("172.19.0.0/16".to_owned())
    );
}

#[test]
fn where_the_host_reaches_all_private_addresses_a_network_still_can_be_made() {
    let everything = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
    ];
    assert_eq!(
        chosen(&["172.17.0.0/16"], &everything),
        Ok("172.18.0.0/16".to_owned())
    );
    let full = chosen(&everything, &[]).unwrap_err();
    assert!(full.contains("give a --subnet"), "{full}");
}
