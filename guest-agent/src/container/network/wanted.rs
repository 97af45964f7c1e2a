//! From what a container's user asks of networks to what the network is asked.

use wherry_proto::v1::{ContainerSpec, NetworkAttachment};

use super::network_error;
use crate::container::error::Error;
use crate::container::record::{Record, Status};
use crate::container::{Containers, chain};
use crate::network::{
    EndpointRequest, InterfaceOptions, NetworkMode, SetupRequest, name_servers,
    parse_hardware_address,
};

/// Returns the mode that a network's name stands for; what follows
/// `container:` stands as it is.
pub(in crate::container) fn mode(network: &str) -> NetworkMode {
    match network {
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        other => match other.strip_prefix("container:") {
            Some(target) => NetworkMode::Container(target.to_owned()),
            None => NetworkMode::Bridge,
        },
    }
}

/// Splits "CONTAINER:ALIAS", where Docker writes "/CONTAINER" too; without an
/// alias it is the container's own name.
pub(super) fn link(text: &str) -> (&str, &str) {
    let text = text.strip_prefix('/').unwrap_or(text);
    let (container, alias) = text.split_once(':').unwrap_or((text, text));
    (container, alias)
}

impl Containers {
    /// Reads the network's name; the container in `container:NAME` and the
    /// network must exist.
    pub(in crate::container) fn network_mode(
        &self,
        spec: &ContainerSpec,
    ) -> Result<NetworkMode, Error> {
        match mode(&spec.network) {
            NetworkMode::Container(target) if target.is_empty() => {
                Err(Error::NoSuchNetwork(spec.network.clone()))
            }
            NetworkMode::Container(target) => {
                Ok(NetworkMode::Container(self.find(&target)?.id.clone()))
            }
            mode => Ok(mode),
        }
    }

    /// Checks a new container's networks, and puts their names for what may be
    /// the beginnings of their ids.
    pub(in crate::container) fn resolve_networks(
        &self,
        spec: &mut ContainerSpec,
        mode: &NetworkMode,
    ) -> Result<(), Error> {
        if *mode != NetworkMode::Bridge {
            if matches!(mode, NetworkMode::Container(_)) {
                check_own(spec)?;
            }
            if spec.networks.len() > 1 {
                return Err(Error::Invalid(
                    "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                        .to_owned(),
                ));
            }
            if let Some(given) = spec.networks.first() {
                check_unlinked(given, mode)?;
                check_unaddressed(given)?;
            }
            spec.networks.clear();
            return Ok(());
        }
        if spec.networks.is_empty() {
            let network = match spec.network.as_str() {
                "" | "default" | "bridge" => return Ok(()),
                network => network.to_owned(),
            };
            spec.networks.push(NetworkAttachment {
                network,
                ..NetworkAttachment::default()
            });
        }
        let mut requests = Vec::new();
        for attachment in &mut spec.networks {
            let other = self::mode(&attachment.network);
            if other != NetworkMode::Bridge {
                return Err(Error::Invalid(
                    "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                        .to_owned(),
                ));
            }
            let network = self
                .network
                .find_network(&attachment.network)
                .map_err(network_error)?;
            attachment.network.clone_from(&network.name);
            if let (true, Some(address)) = (requests.is_empty(), network.host_binding()) {
                // The first network of a container counts for its ports.
                for port in spec
                    .ports
                    .iter_mut()
                    .filter(|port| port.host_address.is_empty())
                {
                    address.clone_into(&mut port.host_address);
                }
            }
            let request = self.endpoint_request(attachment, false)?;
            if requests
                .iter()
                .any(|other: &EndpointRequest| other.network == request.network)
            {
                return Err(Error::Invalid(format!(
                    "conflicting options: network {} is given twice",
                    network.name
                )));
            }
            requests.push(request);
        }
        if let Some(first) = spec.networks.first() {
            spec.network.clone_from(&first.network);
        }
        self.network
            .check_endpoints(&requests)
            .map_err(network_error)
    }

    /// Returns what the network is asked for one of a container's networks.
    /// With `running`, linked containers must run.
    pub(in crate::container) fn endpoint_request(
        &self,
        attachment: &NetworkAttachment,
        running: bool,
    ) -> Result<EndpointRequest, Error> {
        let address = |what: &str, text: &str| {
            Error::Invalid(format!(
                "invalid endpoint settings:\ninvalid {what} address: {text}"
            ))
        };
        let (ipv4, ipv6) = (&attachment.ipv4_address, &attachment.ipv6_address);
        let mac = &attachment.mac_address;
        let mut links = Vec::new();
        for text in &attachment.links {
            let (name, alias) = link(text);
            let linked = self.find(name)?;
            if running && linked.status() != Status::Running {
                return Err(Error::State(format!(
                    "Cannot link to a non running container: /{} AS {alias}",
                    linked.name()
                )));
            }
            // By what it is known on every network, whatever its name becomes.
            links.push((alias.to_owned(), linked.id[..12].to_owned()));
        }
        for alias in &attachment.aliases {
            if alias.is_empty() || alias.len() > 253 || alias.contains(char::is_whitespace) {
                return Err(Error::Invalid(format!(
                    "invalid endpoint settings:\ninvalid alias {alias:?}: give a name of at most 253 letters"
                )));
            }
        }
        let given = |text: &str| !text.is_empty();
        Ok(EndpointRequest {
            network: attachment.network.clone(),
            aliases: attachment.aliases.clone(),
            links,
            gateway_priority: attachment.gateway_priority,
            interface: InterfaceOptions::of(&attachment.driver_options).map_err(network_error)?,
            link_local: attachment
                .link_local_addresses
                .iter()
                .map(|text| text.parse().map_err(|_| address("link-local", text)))
                .collect::<Result<_, _>>()?,
            ipv4: given(ipv4)
                .then(|| ipv4.parse().map_err(|_| address("IPv4", ipv4)))
                .transpose()?,
            ipv6: given(ipv6)
                .then(|| ipv6.parse().map_err(|_| address("IPv6", ipv6)))
                .transpose()?,
            mac: given(mac)
                .then(|| parse_hardware_address(mac).ok_or_else(|| address("MAC", mac)))
                .transpose()?,
        })
    }

    /// Returns what the network is asked when a container starts.
    pub(in crate::container) fn setup_request(
        &self,
        record: &Record,
    ) -> Result<SetupRequest, Error> {
        let mode = self.network_mode(&record.spec)?;
        let endpoints = match &mode {
            NetworkMode::Bridge => record
                .spec
                .networks
                .iter()
                .map(|attachment| self.endpoint_request(attachment, true))
                .collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        Ok(SetupRequest {
            id: record.id.clone(),
            names: names(record),
            mode,
            endpoints,
            name_servers: name_servers(&record.spec.dns)
                .map_err(|error| Error::Invalid(chain(&error)))?,
        })
    }
}

/// Returns the names that a container has on all its networks.
pub(in crate::container) fn names(record: &Record) -> Vec<String> {
    vec![record.name.clone(), record.hostname.clone()]
}

/// Refuses what only the container that has the network can have, in Docker's words.
fn check_own(spec: &ContainerSpec) -> Result<(), Error> {
    let what = if !spec.ports.is_empty() || spec.publish_all {
        "port publishing and the container type network mode"
    } else if !(spec.dns.is_empty() && spec.dns_search.is_empty() && spec.dns_options.is_empty()) {
        "dns and the network mode"
    } else {
        return Ok(());
    };
    Err(Error::Invalid(format!("conflicting options: {what}")))
}

/// Refuses links for a container that shares another network.
fn check_unlinked(attachment: &NetworkAttachment, mode: &NetworkMode) -> Result<(), Error> {
    let kind = match mode {
        _ if attachment.links.is_empty() => return Ok(()),
        NetworkMode::Host => "host type networking",
        NetworkMode::Container(_) => "container type network",
        NetworkMode::None | NetworkMode::Bridge => return Ok(()),
    };
    Err(Error::Invalid(format!(
        "conflicting options: {kind} can't be used with links. This would result in undefined behavior"
    )))
}

/// Refuses settings of a place on a network for a container that has none.
fn check_unaddressed(attachment: &NetworkAttachment) -> Result<(), Error> {
    let plain = NetworkAttachment {
        network: attachment.network.clone(),
        links: attachment.links.clone(),
        gateway_priority: attachment.gateway_priority,
        driver_options: attachment.driver_options.clone(),
        ..NetworkAttachment::default()
    };
    if *attachment == plain {
        return Ok(());
    }
    Err(Error::Invalid(match attachment.aliases.is_empty() {
        false => "network-scoped alias is supported only for containers in user defined networks",
        true => "invalid endpoint settings:\nuser specified IP or MAC address is supported on user defined networks only",
    }.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::PortBinding;

    #[test]
    fn what_only_the_owner_of_a_network_can_have_is_refused() {
        let refused = |change: &dyn Fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec::default();
            change(&mut spec);
            check_own(&spec).err().map(|error| error.to_string())
        };
        assert_eq!(refused(&|_| {}), None);
        let ports =
            "conflicting options: port publishing and the container type network mode".to_owned();
        let dns = "conflicting options: dns and the network mode".to_owned();
        let published = refused(&|spec| spec.ports.push(PortBinding::default()));
        assert_eq!(published, Some(ports.clone()));
        assert_eq!(refused(&|spec| spec.publish_all = true), Some(ports));
        for list in [
            (|spec| &mut spec.dns) as fn(&mut ContainerSpec) -> &mut Vec<String>,
            |spec| &mut spec.dns_search,
            |spec| &mut spec.dns_options,
        ] {
            let told = refused(&|spec| list(spec).push("x".to_owned()));
            assert_eq!(told.as_ref(), Some(&dns));
        }
    }

    #[test]
    fn a_place_on_no_network_has_neither_links_nor_address() {
        let attachment = NetworkAttachment {
            links: vec!["db".to_owned()],
            ..NetworkAttachment::default()
        };
        for (mode, kind) in [
            (NetworkMode::Host, Some("host type networking")),
            (
                NetworkMode::Container("x".to_owned()),
                Some("container type network"),
            ),
            (NetworkMode::None, None),
        ] {
            let told = check_unlinked(&attachment, &mode).err();
            let told = told.map(|error| error.to_string());
            assert_eq!(told.is_some(), kind.is_some());
            assert!(kind.is_none_or(|kind| told.unwrap().contains(kind)));
        }
        assert!(check_unaddressed(&attachment).is_ok());
        let with = |change: fn(&mut NetworkAttachment)| {
            let mut attachment = NetworkAttachment::default();
            change(&mut attachment);
            check_unaddressed(&attachment).unwrap_err().to_string()
        };
        let alias = with(|place| place.aliases.push("db".to_owned()));
        assert!(alias.contains("user defined networks"), "{alias}");
        let address = with(|place| place.mac_address = "02:42:ac:11:00:99".to_owned());
        assert!(address.contains("IP or MAC address"), "{address}");
    }
}
