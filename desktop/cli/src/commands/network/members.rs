//! `wherry network connect` and `disconnect`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wherry_proto::v1::{ConnectNetworkRequest, DisconnectNetworkRequest, NetworkAttachment};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::parse_driver_option;

#[derive(clap::Args, Debug)]
pub(super) struct Connect {
    /// The network, by name or id
    network: String,

    /// The container, by name or id
    container: String,

    /// Give the container this address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,

    /// Give the container this address of IPv6
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,

    /// Give the container a further name on this network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,

    /// Give the container a name of its own for another
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    link: Vec<String>,

    /// Go out by the network with the highest number, by default 0
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    gw_priority: i32,

    /// Give the container a further address of its link, such as 169.254.8.8
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<IpAddr>,

    /// An option of the container's interface: com.docker.network.endpoint.ifname=NAME,
    /// or com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.SYSCTL=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_driver_option)]
    driver_opt: Vec<(String, String)>,
}

impl Connect {
    pub(super) async fn run(self) -> Outcome {
        let connection = Connection::to_machine().await?;
        let attachment = NetworkAttachment {
            network: self.network,
            aliases: self.alias,
            ipv4_address: self.ip.map_or_else(String::new, |ip| ip.to_string()),
            ipv6_address: self.ip6.map_or_else(String::new, |ip| ip.to_string()),
            mac_address: String::new(),
            links: self.link,
            gateway_priority: self.gw_priority,
            driver_options: self.driver_opt.into_iter().collect(),
            link_local_addresses: self.link_local_ip.iter().map(IpAddr::to_string).collect(),
        };
        let request = ConnectNetworkRequest {
            container: self.container,
            attachment: Some(attachment),
        };
        connection.networks().connect_container(request).await?;
        Ok(0)
    }
}

#[derive(clap::Args, Debug)]
pub(super) struct Disconnect {
    /// The network, by name or id
    network: String,

    /// The container, by name or id
    container: String,

    /// Be content where it is not on it
    #[arg(short, long)]
    force: bool,
}

impl Disconnect {
    pub(super) async fn run(self) -> Outcome {
        let connection = Connection::to_machine().await?;
        let request = DisconnectNetworkRequest {
            network: self.network,
            container: self.container,
            force: self.force,
        };
        connection.networks().disconnect_container(request).await?;
        Ok(0)
    }
}
