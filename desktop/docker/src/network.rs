//! Networks, and a container's places on them.

use serde_json::{Map, Value, json};
use wherry_proto::v1::{Container, ContainerSpec, Network, NetworkAttachment, NetworkEndpoint};

use crate::{human, or_null};

/// Returns a network in the shape of `docker network inspect`.
pub fn inspect(network: &Network) -> Value {
    let config: Vec<Value> = network
        .subnets
        .iter()
        .map(|subnet| {
            let mut config = Map::new();
            config.insert("Subnet".to_owned(), subnet.subnet.clone().into());
            if !subnet.range.is_empty() {
                config.insert("IPRange".to_owned(), subnet.range.clone().into());
            }
            config.insert("Gateway".to_owned(), subnet.gateway.clone().into());
            if !subnet.auxiliary.is_empty() {
                config.insert("AuxiliaryAddresses".to_owned(), json!(subnet.auxiliary));
            }
            config.into()
        })
        .collect();
    let members: Map<String, Value> = network
        .members
        .iter()
        .map(|member| {
            let place = member.endpoint.clone().unwrap_or_default();
            let with_length = |address: &str, length: u32| match address {
                "" => String::new(),
                address => format!("{address}/{length}"),
            };
            let described = json!({
                "Name": member.name,
                "EndpointID": place.endpoint,
                "MacAddress": place.mac_address,
                "IPv4Address": with_length(&place.ip_address, place.prefix_length),
                "IPv6Address": with_length(&place.ipv6_address, place.ipv6_prefix_length),
            });
            (member.container.clone(), described)
        })
        .collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": human::rfc3339(network.created.as_ref()),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": true,
        "EnableIPv6": network.ipv6,
        "IPAM": { "Driver": "default", "Options": null, "Config": or_null(config) },
        "Internal": network.internal,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": members,
        "Options": network.options,
        "Labels": network.labels,
    })
}

/// Returns the names of a container's networks, in the order of the user.
pub fn names(spec: &ContainerSpec) -> Vec<&str> {
    if spec.networks.is_empty() {
        return vec![mode(spec)];
    }
    let networks = spec.networks.iter();
    networks
        .map(|attachment| attachment.network.as_str())
        .collect()
}

/// Returns the network that a container was made for.
pub fn mode(spec: &ContainerSpec) -> &str {
    match spec.network.as_str() {
        "" | "default" => "bridge",
        network => network,
    }
}

/// Returns `NetworkSettings.Networks` of `docker inspect`.
pub fn places(container: &Container, spec: &ContainerSpec) -> Map<String, Value> {
    if mode(spec).starts_with("container:") {
        return Map::new();
    }
    let place = |name: &str| {
        let wanted = spec.networks.iter().find(|has| has.network == name);
        let found = container
            .endpoints
            .iter()
            .find(|place| place.network_name == name);
        let described = place(
            &wanted.cloned().unwrap_or_default(),
            &found.cloned().unwrap_or_default(),
        );
        (name.to_owned(), described)
    };
    names(spec).into_iter().map(place).collect()
}

fn place(wanted: &NetworkAttachment, place: &NetworkEndpoint) -> Value {
    let chosen = [
        ("IPv4Address", &wanted.ipv4_address),
        ("IPv6Address", &wanted.ipv6_address),
    ];
    let mut chosen: Map<String, Value> = chosen
        .into_iter()
        .filter(|(_, address)| !address.is_empty())
        .map(|(name, address)| (name.to_owned(), address.clone().into()))
        .collect();
    if !wanted.link_local_addresses.is_empty() {
        let addresses = json!(wanted.link_local_addresses);
        chosen.insert("LinkLocalIPs".to_owned(), addresses);
    }
    let or_null = |empty: bool, value: Value| if empty { Value::Null } else { value };
    json!({
        "IPAMConfig": or_null(chosen.is_empty(), chosen.into()),
        "Links": or_null(wanted.links.is_empty(), json!(wanted.links)),
        "Aliases": or_null(wanted.aliases.is_empty(), json!(wanted.aliases)),
        "MacAddress": match place.mac_address.as_str() { "" => &wanted.mac_address, address => address },
        "DriverOpts": or_null(wanted.driver_options.is_empty(), json!(wanted.driver_options)),
        "GwPriority": wanted.gateway_priority,
        "NetworkID": place.network,
        "EndpointID": place.endpoint,
        "Gateway": place.gateway,
        "IPAddress": place.ip_address,
        "IPPrefixLen": place.prefix_length,
        "IPv6Gateway": place.ipv6_gateway,
        "GlobalIPv6Address": place.ipv6_address,
        "GlobalIPv6PrefixLen": place.ipv6_prefix_length,
        "DNSNames": or_null(place.names.is_empty(), json!(place.names)),
    })
}
