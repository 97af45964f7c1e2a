//! What a container has of its networks: its places, its way out, its name server.

use std::net::IpAddr;

use super::address::hardware_address_text;
use super::bridge::WayOut;
use super::context::{Context, Live, State, lock};
use super::definition::Definition;
use super::record::{Endpoint, Record};
use super::resolver;
use super::{AttachedEndpoint, Attachment, NetworkMode};

impl State {
    /// Returns the place by which a container's packets leave: of those on no
    /// internal network that of the highest priority, and of equals the first.
    pub(super) fn way_out<'a>(&self, record: &'a Record) -> Option<(&'a Endpoint, &Live)> {
        let outward = record.endpoints.iter().filter_map(|endpoint| {
            let live = self.networks.get(&endpoint.network)?;
            (!live.definition.internal).then_some((endpoint, live))
        });
        // Of equals it returns the last.
        outward
            .rev()
            .max_by_key(|(endpoint, _)| endpoint.gateway_priority)
    }
}

impl Context {
    /// Returns by which interface a container's packets leave, and the gateways
    /// there.
    pub(super) fn way_out(&self, record: &Record) -> WayOut {
        let state = lock(&self.state);
        let (endpoint, live) = state.way_out(record)?;
        let network = &live.definition;
        let ranges = std::iter::once(&network.ipv4).chain(&network.ipv6);
        let gateways = ranges.map(|range| range.gateway).collect();
        Some((endpoint.interface.clone(), gateways))
    }

    /// Returns what a record's container has.
    pub(super) fn attachment(&self, record: &Record) -> Attachment {
        let mut attachment = Attachment::none(self.options.host_address);
        attachment.dns = self
            .options
            .upstream
            .iter()
            .map(|server| server.ip())
            .collect();
        match &record.mode {
            NetworkMode::Host => attachment.host_network = true,
            NetworkMode::None => attachment.netns = Some(self.netns(&record.id)),
            NetworkMode::Bridge => self.describe(record, &mut attachment),
            NetworkMode::Container(target) => match self.attached(target) {
                // Never a chain: the driver writes the last one's id down.
                Some(target) if !matches!(target.mode, NetworkMode::Container(_)) => {
                    attachment = self.attachment(&target);
                }
                _ => attachment.netns = Some(self.netns(target)),
            },
        }
        attachment
    }

    fn describe(&self, record: &Record, attachment: &mut Attachment) {
        attachment.netns = Some(self.netns(&record.id));
        let state = lock(&self.state);
        let primary = state.way_out(record).map(|(endpoint, _)| endpoint);
        for endpoint in &record.endpoints {
            let Some(live) = state.networks.get(&endpoint.network) else {
                continue;
            };
            let described = described(record, endpoint, &live.definition);
            if primary.or(record.endpoints.first()) == Some(endpoint) {
                if let IpAddr::V4(address) = endpoint.ipv4 {
                    attachment.address = Some(address);
                }
                attachment.prefix_length = described.prefix_length;
                attachment.mac = Some(described.mac.clone());
                if let Some(IpAddr::V4(gateway)) = described.gateway {
                    attachment.gateway = Some(gateway);
                }
            }
            attachment.endpoints.push(described);
        }
        attachment.own_name_server = record.resolver_port.is_some();
        attachment.dns = match (attachment.own_name_server, attachment.gateway) {
            (true, _) => vec![resolver::ADDRESS.into()],
            (false, Some(gateway)) => vec![gateway.into()],
            (false, None) => Vec::new(),
        };
    }
}

fn described(record: &Record, endpoint: &Endpoint, network: &Definition) -> AttachedEndpoint {
    let gateway = |address: IpAddr| (!network.internal).then_some(address);
    let ipv6 = network.ipv6.as_ref();
    AttachedEndpoint {
        id: endpoint.id.clone(),
        network: network.id.clone(),
        network_name: network.name.clone(),
        ipv4: endpoint.ipv4,
        prefix_length: network.ipv4.subnet.length(),
        gateway: gateway(network.ipv4.gateway),
        ipv6: endpoint
            .ipv6
            .map(|address| (address, ipv6.map_or(0, |range| range.subnet.length()))),
        ipv6_gateway: ipv6.and_then(|range| gateway(range.gateway)),
        mac: hardware_address_text(endpoint.mac),
        names: record.names_on(endpoint),
        interface: endpoint.interface.clone(),
    }
}
