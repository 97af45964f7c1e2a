//! The networks of a container: `--network` and what goes with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wherry_proto::v1::{ContainerSpec, NetworkAttachment};

use crate::failure::Failure;

/// Networks, addresses, names.
#[derive(clap::Args, Debug)]
pub(crate) struct NetworkOptions {
    /// A network, or bridge, host, none or container:NAME; with fields:
    /// name=front,alias=web,ip=10.10.0.5,ip6=ADDRESS,link-local-ip=ADDRESS,
    /// mac-address=MAC,gw-priority=1,driver-opt=OPTION=VALUE
    #[arg(long, visible_alias = "net", value_name = "NETWORK", value_parser = parse_network)]
    network: Vec<NetworkAttachment>,

    /// Give the container a further name on its network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,

    /// Give the container this address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,

    /// Give the container this address of IPv6
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,

    /// Give the container a further address of its link, such as 169.254.8.8
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<IpAddr>,

    /// Give the container this hardware address
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,

    /// Give the container a name of its own for another
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    link: Vec<String>,

    /// Search this domain for names that are not whole
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,

    /// An option of the resolver, such as ndots:2
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
}

impl NetworkOptions {
    /// Adds them to what the engine is asked for. What is said beside the
    /// networks goes with the first.
    pub(crate) fn add_to(&self, spec: &mut ContainerSpec) -> Result<(), Failure> {
        spec.dns_search.clone_from(&self.dns_search);
        spec.dns_options.clone_from(&self.dns_option);
        let mut networks = self.network.clone();
        let beside = NetworkAttachment {
            network: String::new(),
            aliases: self.network_alias.clone(),
            ipv4_address: self.ip.map_or_else(String::new, |ip| ip.to_string()),
            ipv6_address: self.ip6.map_or_else(String::new, |ip| ip.to_string()),
            mac_address: self.mac_address.clone().unwrap_or_default(),
            links: self.link.clone(),
            link_local_addresses: self.link_local_ip.iter().map(IpAddr::to_string).collect(),
            ..NetworkAttachment::default()
        };
        if beside != NetworkAttachment::default() {
            if networks.is_empty() {
                networks.push(NetworkAttachment {
                    network: "bridge".to_owned(),
                    ..NetworkAttachment::default()
                });
            }
            if let Some(first) = networks.first_mut() {
                join(first, beside)?;
            }
        }
        spec.network = match networks.first() {
            Some(first) => first.network.clone(),
            None => String::new(),
        };
        // A name alone says it all.
        let plain = networks.len() == 1
            && networks[0]
                == NetworkAttachment {
                    network: spec.network.clone(),
                    ..NetworkAttachment::default()
                };
        if !plain {
            spec.networks = networks;
        }
        Ok(())
    }
}

fn join(first: &mut NetworkAttachment, beside: NetworkAttachment) -> Result<(), Failure> {
    let text = |own: &mut String, other: String, option: &str, field: &str| {
        if !own.is_empty() && !other.is_empty() {
            return Err(Failure::new(format!(
                "conflicting options: cannot specify both --{option} and per-network {field}"
            )));
        }
        if !other.is_empty() {
            *own = other;
        }
        Ok(())
    };
    text(
        &mut first.ipv4_address,
        beside.ipv4_address,
        "ip",
        "IPv4 address",
    )?;
    text(
        &mut first.ipv6_address,
        beside.ipv6_address,
        "ip6",
        "IPv6 address",
    )?;
    text(
        &mut first.mac_address,
        beside.mac_address,
        "mac-address",
        "MAC address",
    )?;
    if !first.aliases.is_empty() && !beside.aliases.is_empty() {
        return Err(Failure::new(
            "conflicting options: cannot specify both --network-alias and per-network alias",
        ));
    }
    first.aliases.extend(beside.aliases);
    first.links.extend(beside.links);
    first
        .link_local_addresses
        .extend(beside.link_local_addresses);
    Ok(())
}

/// Reads a network's name, or its name and more as fields.
fn parse_network(text: &str) -> Result<NetworkAttachment, String> {
    let mut attachment = NetworkAttachment::default();
    if !text.contains('=') {
        if text.is_empty() {
            return Err("the network's name is missing".to_owned());
        }
        attachment.network = text.to_owned();
        return Ok(attachment);
    }
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field {field:?}: write KEY=VALUE"))?;
        let address = || format!("{value:?} is no IP address");
        match key {
            "name" => value.clone_into(&mut attachment.network),
            "alias" => attachment.aliases.push(value.to_owned()),
            "ip" => {
                attachment.ipv4_address = value
                    .parse::<Ipv4Addr>()
                    .map_err(|_| address())?
                    .to_string();
            }
            "ip6" => {
                attachment.ipv6_address = value
                    .parse::<Ipv6Addr>()
                    .map_err(|_| address())?
                    .to_string();
            }
            "mac-address" => value.clone_into(&mut attachment.mac_address),
            "gw-priority" => {
                attachment.gateway_priority = value
                    .parse()
                    .map_err(|_| format!("invalid gw-priority {value:?}: give a whole number"))?;
            }
            "link-local-ip" => {
                let address: IpAddr = value.parse().map_err(|_| address())?;
                attachment.link_local_addresses.push(address.to_string());
            }
            "driver-opt" => {
                let (name, value) = parse_driver_option(value)?;
                attachment.driver_options.insert(name, value);
            }
            "link" => attachment.links.push(value.to_owned()),
            other => {
                return Err(format!(
                    "invalid field key {other}: the fields are name, alias, ip, ip6, link-local-ip, mac-address, gw-priority, driver-opt and link"
                ));
            }
        }
    }
    if attachment.network.is_empty() {
        return Err("network name must be specified: write name=NETWORK".to_owned());
    }
    Ok(attachment)
}

/// Reads an option of a container's interface on a network.
pub(crate) fn parse_driver_option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!(
            "invalid driver option {text:?}: write NAME=VALUE, such as com.docker.network.endpoint.ifname=eth5"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: NetworkOptions,
    }

    fn spec(line: &str) -> Result<ContainerSpec, String> {
        let arguments = format!("x {line}");
        let line = Line::try_parse_from(arguments.split_whitespace())
            .map_err(|error| error.to_string())?;
        let mut spec = ContainerSpec::default();
        let added = line.options.add_to(&mut spec);
        added.map_err(|failure| failure.message.unwrap_or_default())?;
        Ok(spec)
    }

    #[test]
    fn networks_are_read_in_both_forms() {
        let plain = spec("--net host").unwrap();
        assert_eq!((plain.network.as_str(), plain.networks.len()), ("host", 0));
        assert_eq!(spec("").unwrap(), ContainerSpec::default());
        let several = spec("--network name=a,alias=x,alias=y,ip=10.0.0.5 --network name=b,gw-priority=-3 --ip6 fd00::5 --link db:store").unwrap();
        assert_eq!(several.network, "a");
        let [a, b] = several.networks.as_slice() else {
            panic!("{several:?}");
        };
        assert_eq!(
            (a.aliases.join(","), a.ipv4_address.as_str()),
            ("x,y".to_owned(), "10.0.0.5")
        );
        assert_eq!(
            (a.ipv6_address.as_str(), a.links.join(",")),
            ("fd00::5", "db:store".to_owned())
        );
        assert_eq!((b.network.as_str(), b.gateway_priority), ("b", -3));
        let own = spec(
            "--network name=a,driver-opt=k=v=w,link-local-ip=169.254.1.2 --link-local-ip fe80::5",
        )
        .unwrap();
        assert_eq!(own.networks[0].driver_options["k"], "v=w");
        assert_eq!(
            own.networks[0].link_local_addresses,
            ["169.254.1.2", "fe80::5"]
        );
        assert_eq!(spec("--net-alias w").unwrap().networks[0].network, "bridge");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (line, said) in [
            (
                "--network name=a,ip=10.0.0.5 --ip 10.0.0.6",
                "both --ip and",
            ),
            (
                "--network name=a,alias=x --network-alias y",
                "per-network alias",
            ),
            ("--network alias=x", "must be specified"),
            ("--network name=a,ip=x", "no IP address"),
            ("--network name=a,colour=x", "invalid field key colour"),
            ("--network name=a,gw-priority=x", "invalid gw-priority"),
            ("--network name=a,driver-opt=x", "invalid driver option"),
            ("--network name=a,link-local-ip=x", "no IP address"),
            ("--ip 10.0.0", "invalid"),
        ] {
            let error = spec(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
