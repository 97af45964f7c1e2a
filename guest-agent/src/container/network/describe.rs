//! Networks, and containers' places on them, as they are told of.

use std::collections::HashMap;

use wherry_proto::v1;

use super::moves::networks;
use super::service::driver_of;
use super::wanted::mode;
use crate::container::Containers;
use crate::container::record::{Address, timestamp};
use crate::network::{AttachedEndpoint, Attachment, Definition, Range, predefined_id};

impl Containers {
    /// Returns how many containers, running or not, have each network, by name.
    pub(super) fn network_users(&self) -> HashMap<String, u32> {
        let mut users = HashMap::new();
        for container in self.all() {
            for attachment in networks(&container) {
                *users.entry(attachment.network).or_default() += 1;
            }
        }
        users
    }

    pub(super) fn describe_network(
        &self,
        network: &Definition,
        users: &HashMap<String, u32>,
    ) -> v1::Network {
        let member = |(id, endpoint): (String, AttachedEndpoint)| v1::NetworkMember {
            name: self.name_of(&id),
            container: id,
            endpoint: Some(endpoint_message(&endpoint)),
        };
        let subnet = |range: &Range| v1::Subnet {
            subnet: range.subnet.to_string(),
            gateway: range.gateway.to_string(),
            range: range
                .range
                .map_or_else(String::new, |range| range.to_string()),
            auxiliary: range
                .auxiliary
                .iter()
                .map(|(name, address)| (name.clone(), address.to_string()))
                .collect(),
        };
        v1::Network {
            id: network.id.clone(),
            name: network.name.clone(),
            driver: "bridge".to_owned(),
            created: timestamp(network.created),
            subnets: std::iter::once(&network.ipv4)
                .chain(&network.ipv6)
                .map(subnet)
                .collect(),
            internal: network.internal,
            ipv6: network.ipv6.is_some(),
            labels: network.labels.clone().into_iter().collect(),
            options: network.options.clone().into_iter().collect(),
            members: self
                .network
                .members(&network.id)
                .into_iter()
                .map(member)
                .collect(),
            users: users.get(&network.name).copied().unwrap_or(0),
        }
    }

    pub(super) fn predefined_network(
        &self,
        name: &str,
        users: &HashMap<String, u32>,
    ) -> v1::Network {
        let members = self.network.members_of_mode(&mode(name));
        let member = |id: String| v1::NetworkMember {
            name: self.name_of(&id),
            container: id,
            endpoint: None,
        };
        v1::Network {
            id: predefined_id(name),
            name: name.to_owned(),
            driver: driver_of(name).to_owned(),
            members: members.into_iter().map(member).collect(),
            users: users.get(name).copied().unwrap_or(0),
            ..v1::Network::default()
        }
    }

    fn name_of(&self, id: &str) -> String {
        let found = self.find(id);
        found.map_or_else(|_| String::new(), |container| container.name())
    }
}

fn endpoint_message(endpoint: &AttachedEndpoint) -> v1::NetworkEndpoint {
    let text = |address: Option<std::net::IpAddr>| {
        address.map_or_else(String::new, |address| address.to_string())
    };
    let (ipv6, ipv6_length) = endpoint.ipv6.unzip();
    v1::NetworkEndpoint {
        network: endpoint.network.clone(),
        network_name: endpoint.network_name.clone(),
        endpoint: endpoint.id.clone(),
        ip_address: endpoint.ipv4.to_string(),
        prefix_length: endpoint.prefix_length.into(),
        gateway: text(endpoint.gateway),
        ipv6_address: text(ipv6),
        ipv6_prefix_length: ipv6_length.unwrap_or(0).into(),
        ipv6_gateway: text(endpoint.ipv6_gateway),
        mac_address: endpoint.mac.clone(),
        names: endpoint.names.clone(),
    }
}

impl crate::container::record::State {
    /// Notes where the container is in its networks.
    pub(in crate::container) fn place(&mut self, attachment: &Attachment) {
        let text = |address: Option<std::net::Ipv4Addr>| {
            address.map_or_else(String::new, |address| address.to_string())
        };
        self.address = Address {
            ip: text(attachment.address),
            prefix_length: attachment.prefix_length.into(),
            gateway: text(attachment.gateway),
            mac: attachment.mac.clone().unwrap_or_default(),
        };
        self.endpoints = attachment.endpoints.iter().map(endpoint_message).collect();
    }
}
