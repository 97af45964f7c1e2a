//! `-p`: `[[ADDRESS:]HOST_PORT:]CONTAINER_PORT[/PROTOCOL]`, with ranges.

use std::net::IpAddr;

use wherry_proto::v1::PortBinding;

/// What one `-p` publishes: one port, or a range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Published(pub(crate) Vec<PortBinding>);

const FORM: &str = "write -p HOST_PORT:CONTAINER_PORT, such as 8080:80, 127.0.0.1:8080:80/udp or 8000-8010:8000-8010";

/// Parses the value of `-p`.
pub(crate) fn parse(text: &str) -> Result<Published, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp") {
        return Err(format!(
            "the protocol {protocol:?} is not supported: use tcp or udp"
        ));
    }
    let (rest, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, host) = split_address(rest)?;
    let container = range(container, "container")?;
    let host = match host {
        "" => None,
        host => Some(range(host, "host")?),
    };
    let count = container.1 - container.0;
    if let Some(host) = host
        && host.1 - host.0 != count
    {
        return Err(format!(
            "{} ports on the host for {} in the container: the ranges must be equally long",
            host.1 - host.0 + 1,
            count + 1
        ));
    }
    let bindings = (0..=count).map(|offset| PortBinding {
        container_port: container.0 + offset,
        protocol: protocol.clone(),
        host_address: address.clone(),
        host_port: host.map_or(0, |host| host.0 + offset),
    });
    Ok(Published(bindings.collect()))
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
        }
    }

    #[test]
    fn every_form_of_docker_is_understood() {
        for (text, expected) in [
            ("80", binding("", 0, 80, "tcp")),
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
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("", "missing"),
            ("8080:", "missing"),
            ("http:80", "\"http\""),
            ("0:80", "from 1 to 65535"),
            ("80:65536", "from 1 to 65535"),
            ("+80:80", "from 1 to 65535"),
            ("80:80/sctp", "tcp or udp"),
            ("8000-8010:80", "equally long"),
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
