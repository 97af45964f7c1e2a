//! `wherry port`

use wherry_proto::v1::{InspectContainerRequest, PortBinding};

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry port web\n  wherry port web 80\n  wherry port dns 53/udp"
)]
pub(crate) struct Arguments {
    /// The container, by name or id
    container: String,

    /// Show where this port of the container is published
    #[arg(value_name = "PORT[/PROTOCOL]", value_parser = parse_port)]
    port: Option<Private>,
}

/// A port inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Private {
    port: u32,
    protocol: String,
}

fn parse_port(text: &str) -> Result<Private, String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port: u16 = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or("write a port from 1 to 65535, and perhaps /udp")?;
    if !matches!(protocol, "tcp" | "udp") {
        return Err(format!("there is no protocol {protocol:?}: use tcp or udp"));
    }
    Ok(Private {
        port: port.into(),
        protocol: protocol.to_owned(),
    })
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let request = InspectContainerRequest {
        container: arguments.container.clone(),
    };
    let container = connection.containers().inspect(request).await?.into_inner();
    let lines = lines(container.ports, arguments.port.as_ref());
    if let (Some(Private { port, protocol }), true) = (&arguments.port, lines.is_empty()) {
        return Err(Failure::new(format!(
            "no public port '{port}/{protocol}' published for {}",
            arguments.container
        )));
    }
    for line in lines {
        output::print_line(&line)?;
    }
    Ok(0)
}

fn lines(mut ports: Vec<PortBinding>, wanted: Option<&Private>) -> Vec<String> {
    ports.sort_by(|a, b| {
        (a.container_port, &a.protocol, &a.host_address).cmp(&(
            b.container_port,
            &b.protocol,
            &b.host_address,
        ))
    });
    let is_wanted = |port: &PortBinding| {
        wanted.is_none_or(|wanted| {
            port.container_port == wanted.port && port.protocol == wanted.protocol
        })
    };
    let published = ports
        .iter()
        .filter(|port| port.host_port != 0 && is_wanted(port));
    published
        .map(|port| {
            let address = match port.host_address.as_str() {
                address if address.contains(':') => format!("[{address}]"),
                address => address.to_owned(),
            };
            let host = format!("{address}:{}", port.host_port);
            match wanted {
                Some(_) => host,
                None => format!("{}/{} -> {host}", port.container_port, port.protocol),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_in_order_and_one_alone_is_bare() {
        let binding = |container_port, protocol: &str, host_address: &str, host_port| PortBinding {
            container_port,
            protocol: protocol.to_owned(),
            host_address: host_address.to_owned(),
            host_port,
            host_port_last: 0,
        };
        let ports = vec![
            binding(443, "tcp", "127.0.0.1", 8443),
            binding(53, "udp", "::1", 5353),
        ];
        assert_eq!(
            lines(ports.clone(), None),
            ["53/udp -> [::1]:5353", "443/tcp -> 127.0.0.1:8443"]
        );
        let wanted = parse_port("443").unwrap();
        assert_eq!(lines(ports.clone(), Some(&wanted)), ["127.0.0.1:8443"]);
        assert!(lines(ports, Some(&parse_port("443/udp").unwrap())).is_empty());
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["", "0", "65536", "80/sctp", "http"] {
            assert!(parse_port(text).is_err(), "{text}");
        }
    }
}
