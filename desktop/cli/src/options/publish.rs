//! `-p`: `[[ADDRESS:]HOST_PORT:]CONTAINER_PORT[/PROTOCOL]`, with ranges, or field
//! by field; `-P` and `--expose`.

use std::net::IpAddr;

use wherry_proto::v1::{ContainerSpec, PortBinding};

/// What is published on the host, and what the container says it listens on.
#[derive(clap::Args, Debug)]
pub(crate) struct PublishOptions {
    /// Publish a port of the container on the host, or a range of ports
    #[arg(short, long, value_name = "[[ADDRESS:]HOST:]PORT[/udp]", value_parser = parse)]
    publish: Vec<Published>,

    /// Publish every exposed port on a free port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,

    /// Say that the container listens on a port, or on a range of ports
    #[arg(long, value_name = "PORT[/udp]", value_parser = parse_exposed)]
    expose: Vec<Exposed>,
}

impl PublishOptions {
    /// Adds them to what the engine is asked for. What is named twice is
    /// published once.
    pub(crate) fn add_to(&self, spec: &mut ContainerSpec) {
        let mut seen = std::collections::HashSet::new();
        for binding in self.publish.iter().flat_map(|published| &published.0) {
            let key = (
                binding.container_port,
                binding.protocol.clone(),
                binding.host_address.clone(),
                (binding.host_port, binding.host_port_last),
            );
            if seen.insert(key) {
                spec.ports.push(binding.clone());
            }
        }
        spec.publish_all = self.publish_all;
        for port in self.expose.iter().flat_map(|exposed| &exposed.0) {
            if !spec.exposed_ports.contains(port) {
                spec.exposed_ports.push(port.clone());
            }
        }
    }
}

/// What one `-p` publishes: one port, or a range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Published(pub(crate) Vec<PortBinding>);

/// What one `--expose` names, `"80/tcp"`.
#[derive(Clone, Debug, PartialEq)]
struct Exposed(Vec<String>);

const FORM: &str = "write -p HOST_PORT:CONTAINER_PORT, such as 8080:80, 127.0.0.1:8080:80/udp or 8000-8010:8000-8010";

/// Parses the value of `-p`.
fn parse(text: &str) -> Result<Published, String> {
    if text.contains('=') {
        return parse(&from_fields(text)?);
    }
    let (ports, protocol) = split_protocol(text)?;
    let (rest, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, host) = split_address(rest)?;
    let container = range(container, "container")?;
    let host = match host {
        // Docker takes 0 for any free one, as systems do.
        "" | "0" => None,
        host => Some(range(host, "host")?),
    };
    let count = container.1 - container.0;
    let binding = |offset: u32, host_port, host_port_last| PortBinding {
        container_port: container.0 + offset,
        protocol: protocol.clone(),
        host_address: address.clone(),
        host_port,
        host_port_last,
    };
    Ok(Published(match host {
        None => (0..=count).map(|offset| binding(offset, 0, 0)).collect(),
        Some((first, last)) if last - first == count => (0..=count)
            .map(|offset| binding(offset, first + offset, 0))
            .collect(),
        // Any free one of the range, as in Docker.
        Some((first, last)) if count == 0 => vec![binding(0, first, last)],
        Some((first, last)) => {
            return Err(format!(
                "{} ports on the host for {} in the container: the ranges must be equally long",
                last - first + 1,
                count + 1
            ));
        }
    }))
}

/// Rewrites `published=8080,target=80,protocol=udp`.
fn from_fields(text: &str) -> Result<String, String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some(("mode", "host" | "ingress")) => {}
            _ => {
                return Err(format!(
                    "{field:?} is no field of a port: write published=8080,target=80,protocol=tcp"
                ));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// Parses the value of `--expose`.
fn parse_exposed(text: &str) -> Result<Exposed, String> {
    let (ports, protocol) = split_protocol(text)?;
    if ports.contains(':') {
        return Err(format!(
            "{text:?} names a port of the host: --expose takes the container's alone, -p both"
        ));
    }
    let (first, last) = range(ports, "container")?;
    let ports = (first..=last).map(|port| format!("{port}/{protocol}"));
    Ok(Exposed(ports.collect()))
}

fn split_protocol(text: &str) -> Result<(&str, String), String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    match protocol.as_str() {
        "tcp" | "udp" => Ok((ports, protocol)),
        "sctp" => Err("sctp is not carried to the machine: publish tcp or udp".to_owned()),
        _ => Err(format!(
            "the protocol {protocol:?} is not supported: use tcp or udp"
        )),
    }
}

/// Splits `ADDRESS:HOST_PORT`, `HOST_PORT` or nothing; an IPv6 address stands in brackets.
fn split_address(text: &str) -> Result<(String, &str), String> {
    let (address, host) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, host) = rest
                .split_once(']')
                .ok_or_else(|| format!("no closing bracket: {FORM}"))?;
            let host = host
                .strip_prefix(':')
                .or_else(|| host.is_empty().then_some(""))
                .ok_or_else(|| FORM.to_owned())?;
            (address, host)
        }
        None => match text.rsplit_once(':') {
            Some((address, _)) if address.contains(':') => {
                return Err(format!(
                    "an IPv6 address stands in brackets, as in [{address}]:8080:80"
                ));
            }
            Some(split) => split,
            // A lone address is `127.0.0.1:80` with the host's port left out.
            None if text.parse::<IpAddr>().is_ok() => (text, ""),
            None => return Ok((String::new(), text)),
        },
    };
    if address.is_empty() && !text.starts_with('[') {
        return Ok((String::new(), host));
    }
    match address.parse::<IpAddr>() {
        Ok(address) => Ok((address.to_string(), host)),
        Err(_) => Err(format!("{address:?} is no IP address: {FORM}")),
    }
}

fn range(text: &str, side: &str) -> Result<(u32, u32), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first, side)?, port(last, side)?);
    if first <= last {
        Ok((first, last))
    } else {
        Err(format!(
            "the range {text} runs backwards: write {last}-{first}"
        ))
    }
}

fn port(text: &str, side: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Err(format!("the {side}'s port is missing: {FORM}"));
    }
    // Digits alone, because "+80" parses as a number too.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if port > 0 && digits => Ok(u32::from(port)),
        _ => Err(format!(
            "the {side}'s port {text:?} is none: a port is a number from 1 to 65535"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binding(
        host_address: &str,
        host_port: u32,
        container_port: u32,
        protocol: &str,
    ) -> PortBinding {
        PortBinding {
            container_port,
            protocol: protocol.to_owned(),
            host_address: host_address.to_owned(),
            host_port,
            host_port_last: 0,
        }
    }

    #[test]
    fn every_form_of_docker_is_understood() {
        for (text, expected) in [
            ("80", binding("", 0, 80, "tcp")),
            ("0:80", binding("", 0, 80, "tcp")),
            ("8080:80", binding("", 8080, 80, "tcp")),
            (":80", binding("", 0, 80, "tcp")),
            ("8080:80/udp", binding("", 8080, 80, "udp")),
            ("8080:80/TCP", binding("", 8080, 80, "tcp")),
            ("127.0.0.1:8080:80", binding("127.0.0.1", 8080, 80, "tcp")),
            ("127.0.0.1::80", binding("127.0.0.1", 0, 80, "tcp")),
            ("127.0.0.1:80", binding("127.0.0.1", 0, 80, "tcp")),
            ("[::1]:8080:80", binding("::1", 8080, 80, "tcp")),
            ("[::1]::80/udp", binding("::1", 0, 80, "udp")),
            ("[::]:53:53/udp", binding("::", 53, 53, "udp")),
            ("published=8080,target=80", binding("", 8080, 80, "tcp")),
            (
                "mode=host,published=53,target=5353,protocol=udp",
                binding("", 53, 5353, "udp"),
            ),
            ("target=80", binding("", 0, 80, "tcp")),
        ] {
            assert_eq!(parse(text), Ok(Published(vec![expected])), "{text}");
        }
    }

    #[test]
    fn ranges_publish_port_by_port() {
        assert_eq!(
            parse("127.0.0.1:8000-8002:80-82/udp"),
            Ok(Published(vec![
                binding("127.0.0.1", 8000, 80, "udp"),
                binding("127.0.0.1", 8001, 81, "udp"),
                binding("127.0.0.1", 8002, 82, "udp"),
            ]))
        );
        assert_eq!(parse("80-81").unwrap().0.len(), 2);
        assert_eq!(parse("1-65535:1-65535").unwrap().0.len(), 65535);
    }

    #[test]
    fn a_range_of_the_host_for_one_port_is_a_choice() {
        let choice = PortBinding {
            host_port_last: 8010,
            ..binding("127.0.0.1", 8000, 80, "udp")
        };
        assert_eq!(
            parse("127.0.0.1:8000-8010:80/udp"),
            Ok(Published(vec![choice]))
        );
        // One port is no range.
        assert_eq!(
            parse("8000-8000:80"),
            Ok(Published(vec![binding("", 8000, 80, "tcp")]))
        );
    }

    #[test]
    fn exposed_ports_are_listed_one_by_one() {
        let ports = |text: &str| parse_exposed(text).map(|exposed| exposed.0);
        assert_eq!(ports("80"), Ok(vec!["80/tcp".to_owned()]));
        assert_eq!(
            ports("53-54/UDP"),
            Ok(vec!["53/udp".to_owned(), "54/udp".to_owned()])
        );
        for (text, words) in [
            ("8080:80", "-p"),
            ("0", "from 1"),
            ("9-8", "backwards"),
            ("80/sctp", "sctp"),
        ] {
            let error = ports(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_named_twice_is_published_once() {
        let options = PublishOptions {
            publish: vec![parse("8000-8002:80-82").unwrap(), parse("8001:81").unwrap()],
            publish_all: true,
            expose: vec![
                parse_exposed("80").unwrap(),
                parse_exposed("80-81").unwrap(),
            ],
        };
        let mut spec = ContainerSpec::default();
        options.add_to(&mut spec);
        assert_eq!(spec.ports.len(), 3);
        assert!(spec.publish_all);
        assert_eq!(spec.exposed_ports, ["80/tcp", "81/tcp"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("", "missing"),
            ("8080:", "missing"),
            ("http:80", "\"http\""),
            ("0-1:80", "from 1 to 65535"),
            ("80:65536", "from 1 to 65535"),
            ("+80:80", "from 1 to 65535"),
            ("80:80/sctp", "sctp is not carried"),
            ("80:80/icmp", "\"icmp\""),
            ("8000-8010:80-81", "equally long"),
            ("8000:80-81", "equally long"),
            ("published=80,port=80", "port=80"),
            ("published=80", "missing"),
            ("8010-8000:80-90", "backwards"),
            ("::1:8080:80", "brackets"),
            ("[::1:8080:80", "bracket"),
            ("localhost:8080:80", "no IP address"),
            ("[]:8080:80", "no IP address"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_ports_or_an_error(text in "[0-9a-z:.\\-/\\[\\]]{0,24}") {
            if let Ok(Published(bindings)) = parse(&text) {
                prop_assert!(!bindings.is_empty());
                for binding in bindings {
                    prop_assert!((1..=65535).contains(&binding.container_port));
                    prop_assert!(binding.host_port <= 65535);
                }
            }
        }

        #[test]
        fn what_is_written_comes_back(
            address in any::<std::net::IpAddr>(),
            host in 1u16.., container in 1u16..,
            protocol in proptest::sample::select(vec!["tcp", "udp"]),
        ) {
            let shown = std::net::SocketAddr::new(address, host);
            let parsed = parse(&format!("{shown}:{container}/{protocol}")).unwrap();
            let expected = binding(&address.to_string(), host.into(), container.into(), protocol);
            prop_assert_eq!(parsed.0, vec![expected]);
        }
    }
}
