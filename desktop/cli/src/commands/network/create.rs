//! `wherry network create`

use std::collections::HashMap;
use std::net::IpAddr;

use wherry_proto::v1::{CreateNetworkRequest, Subnet};

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::SwarmNetworks;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Without a subnet one is chosen that overlaps no other network, the host's and its VPNs' among them.\n\nOptions of the driver: com.docker.network.bridge.name, com.docker.network.driver.mtu, com.docker.network.bridge.enable_ip_masquerade"
)]
pub(super) struct Create {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    network: String,

    /// The kind of network
    #[arg(short, long, default_value = "bridge")]
    driver: String,

    /// A subnet such as 10.10.0.0/24; one of IPv6 may come with one of IPv4
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<String>,

    /// The address of the bridge in its subnet, by default the first
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,

    /// The part of its subnet that containers get addresses of
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<String>,

    /// An address that no container gets
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = parse_auxiliary)]
    aux_address: Vec<(String, IpAddr)>,

    /// Let nothing out of it, and nothing in
    #[arg(long)]
    internal: bool,

    /// Give containers addresses of IPv6 too
    #[arg(long)]
    ipv6: bool,

    /// Attach a label to the network
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = parse_pair)]
    label: Vec<(String, String)>,

    /// Set an option of the driver
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    opt: Vec<(String, String)>,

    /// Who hands addresses out
    #[arg(long, default_value = "default", value_parser = ["default"])]
    ipam_driver: String,

    /// Let containers be connected by hand, which they always can be
    #[arg(long)]
    attachable: bool,

    #[command(flatten)]
    _swarm: SwarmNetworks,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("", _) => Err("the name is missing: write KEY=VALUE".to_owned()),
        (key, value) => Ok((key.to_owned(), value.to_owned())),
    }
}

fn parse_auxiliary(text: &str) -> Result<(String, IpAddr), String> {
    let wrong = || "write NAME=ADDRESS, such as router=10.10.0.5".to_owned();
    let (name, address) = text.split_once('=').ok_or_else(wrong)?;
    let address = address.parse().map_err(|_| wrong())?;
    Ok((name.to_owned(), address))
}

impl Create {
    pub(super) async fn run(self) -> Outcome {
        let subnets = self.subnets()?;
        let connection = Connection::to_machine().await?;
        let request = CreateNetworkRequest {
            name: self.network,
            driver: self.driver,
            ipv6: self.ipv6 || subnets.iter().any(|subnet| subnet.subnet.contains(':')),
            subnets,
            internal: self.internal,
            labels: self.label.into_iter().collect(),
            options: self.opt.into_iter().collect(),
            host_routes: Vec::new(),
        };
        let created = connection.networks().create(request).await?.into_inner();
        for warning in &created.warnings {
            output::complain(&format!("WARNING: {warning}"));
        }
        output::print_line(&created.id)?;
        Ok(0)
    }

    /// Puts ranges, gateways and other addresses with their subnets, as Docker
    /// does; whether they fit is for the engine to say.
    fn subnets(&self) -> Result<Vec<Subnet>, Failure> {
        let mut subnets: Vec<_> = self
            .subnet
            .iter()
            .map(|subnet| Subnet {
                subnet: subnet.clone(),
                ..Subnet::default()
            })
            .collect();
        let missing = "every ip-range or gateway must have a corresponding subnet";
        if subnets.is_empty() && !(self.ip_range.is_empty() && self.gateway.is_empty()) {
            return Err(Failure::new(missing));
        }
        for range in &self.ip_range {
            let address = range.split('/').next().and_then(|text| text.parse().ok());
            let place = find(&mut subnets, address)
                .ok_or_else(|| Failure::new(format!("no matching subnet for range {range}")))?;
            if !place.range.is_empty() {
                return Err(Failure::new(format!(
                    "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                    place.range, place.subnet
                )));
            }
            place.range.clone_from(range);
        }
        for gateway in &self.gateway {
            let place = find(&mut subnets, Some(*gateway))
                .ok_or_else(|| Failure::new(format!("no matching subnet for gateway {gateway}")))?;
            if !place.gateway.is_empty() {
                return Err(Failure::new(format!(
                    "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                    place.gateway, place.subnet
                )));
            }
            place.gateway = gateway.to_string();
        }
        for (name, address) in &self.aux_address {
            let place = find(&mut subnets, Some(*address)).ok_or_else(|| {
                Failure::new(format!("no matching subnet for aux-address {address}"))
            })?;
            place.auxiliary = std::mem::take(&mut place.auxiliary)
                .into_iter()
                .chain([(name.clone(), address.to_string())])
                .collect::<HashMap<_, _>>();
        }
        Ok(subnets)
    }
}

/// Returns the subnet that an address is in; one alone takes everything of its
/// family, so that the engine says what is wrong.
fn find(subnets: &mut [Subnet], address: Option<IpAddr>) -> Option<&mut Subnet> {
    let address = address?;
    let of_family = |subnet: &Subnet| subnet.subnet.contains(':') == address.is_ipv6();
    let place = subnets
        .iter()
        .position(|subnet| contains(&subnet.subnet, address))?;
    subnets.get_mut(place).filter(|subnet| of_family(subnet))
}

fn contains(subnet: &str, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let Some((network, length)) = subnet.split_once('/') else {
        return false;
    };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else {
        // What the engine refuses by name.
        return true;
    };
    let ((network, width), (address, other)) = (bits(network), bits(address));
    let host = width.max(length) - length;
    width == other
        && network.checked_shr(host).unwrap_or(0) == address.checked_shr(host).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    fn subnets(line: &str) -> Result<Vec<Subnet>, String> {
        let line = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        line.create
            .subnets()
            .map_err(|failure| failure.message.unwrap_or_default())
    }

    #[test]
    fn gateways_and_ranges_go_with_their_subnets() {
        let line = "x net --subnet 10.1.0.0/16 --subnet fd00::/64 --gateway fd00::9 --gateway 10.1.0.9 --ip-range 10.1.2.0/24 --aux-address a=10.1.0.3";
        let found = subnets(line).unwrap();
        assert_eq!(
            (found[0].gateway.as_str(), found[0].range.as_str()),
            ("10.1.0.9", "10.1.2.0/24")
        );
        assert_eq!(found[0].auxiliary["a"], "10.1.0.3");
        assert_eq!(found[1].gateway, "fd00::9");
        for (line, said) in [
            (
                "x net --gateway 10.0.0.1",
                "must have a corresponding subnet",
            ),
            (
                "x net --subnet 10.1.0.0/16 --gateway 10.2.0.1",
                "no matching subnet for gateway 10.2.0.1",
            ),
            (
                "x net --subnet 10.1.0.0/16 --ip-range 10.2.0.0/24",
                "no matching subnet for range",
            ),
            (
                "x net --subnet 10.1.0.0/16 --gateway 10.1.0.1 --gateway 10.1.0.2",
                "multiple gateways",
            ),
            ("x net --aux-address a", "NAME=ADDRESS"),
        ] {
            assert!(subnets(line).unwrap_err().contains(said), "{line}");
        }
    }
}
