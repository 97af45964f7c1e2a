//! Containers, as `ps` shows them.

use std::time::SystemTime;

use serde_json::{Value, json};
use wherry_docker::container::{self as shape, exposed_ports, labels, status, status_name};
use wherry_docker::reference::short_id;
use wherry_docker::{human, network};
use wherry_proto::v1::container::Status;
use wherry_proto::v1::mount::Kind;
use wherry_proto::v1::{Container, PortBinding};

/// The longest command in a table, characters.
const COMMAND_LENGTH: usize = 20;

/// Returns the fields of a container in `ps`, named as Docker's.
pub(crate) fn row(container: &Container, full: bool, now: SystemTime) -> Value {
    let spec = container.spec.clone().unwrap_or_default();
    let id = if full {
        &container.id
    } else {
        short_id(&container.id)
    };
    let labels: Vec<String> = labels(container)
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mounts: Vec<&str> = container
        .mounts
        .iter()
        .map(|mount| match mount.kind() {
            Kind::Volume => mount.name.as_str(),
            _ => mount.source.as_str(),
        })
        .filter(|source| !source.is_empty())
        .collect();
    let volumes = container
        .mounts
        .iter()
        .filter(|mount| mount.kind() == Kind::Volume)
        .count();
    json!({
        "Command": command(shape::command(container), full),
        "CreatedAt": human::date(container.created.as_ref()),
        "ID": id,
        "Image": spec.image,
        "Labels": labels.join(","),
        "LocalVolumes": volumes.to_string(),
        "Mounts": mounts.join(","),
        "Names": container.name,
        "Networks": network::names(&spec).join(","),
        "Ports": ports(container),
        "RunningFor": format!("{} ago", human::since(container.created.as_ref(), now)),
        "State": status_name(container.status()),
        "Status": status(container, now),
    })
}

fn command(args: &[String], full: bool) -> String {
    let command = args.join(" ");
    let shown = if full || command.chars().count() <= COMMAND_LENGTH {
        command
    } else {
        let kept: String = command.chars().take(COMMAND_LENGTH - 1).collect();
        format!("{kept}…")
    };
    // As Go's %q: a command may have quotes and line ends in it.
    let mut quoted = String::from("\"");
    for c in shown.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.extend(c.escape_default()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns the ports as `0.0.0.0:8000-8002->80-82/tcp, 443/tcp`, neighbours drawn together.
fn ports(container: &Container) -> String {
    if !matches!(container.status(), Status::Running | Status::Paused) {
        return String::new();
    }
    let mut bindings: Vec<PortBinding> = container.ports.clone();
    for exposed in exposed_ports(container) {
        let (port, protocol) = exposed.split_once('/').unwrap_or((&exposed, "tcp"));
        let Ok(container_port) = port.parse() else {
            continue;
        };
        let bound = |binding: &PortBinding| {
            binding.container_port == container_port && binding.protocol == protocol
        };
        if !bindings.iter().any(bound) {
            bindings.push(PortBinding {
                container_port,
                protocol: protocol.to_owned(),
                ..PortBinding::default()
            });
        }
    }
    bindings.sort_by(|a, b| {
        (&a.protocol, &a.host_address, a.container_port, a.host_port).cmp(&(
            &b.protocol,
            &b.host_address,
            b.container_port,
            b.host_port,
        ))
    });
    let mut runs: Vec<(PortBinding, u32)> = Vec::new();
    for binding in bindings {
        match runs.last_mut() {
            Some((first, count)) if continues(first, *count, &binding) => *count += 1,
            _ => runs.push((binding, 1)),
        }
    }
    let span = |first: u32, count: u32| match count {
        1 => first.to_string(),
        count => format!("{first}-{}", first + count - 1),
    };
    let shown = runs.iter().map(|(first, count)| {
        let inside = format!("{}/{}", span(first.container_port, *count), first.protocol);
        if first.host_port == 0 {
            return inside;
        }
        let address = match first.host_address.as_str() {
            address if address.contains(':') => format!("[{address}]"),
            address => address.to_owned(),
        };
        format!("{address}:{}->{inside}", span(first.host_port, *count))
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn continues(first: &PortBinding, count: u32, next: &PortBinding) -> bool {
    let host = match first.host_port {
        0 => 0,
        port => port + count,
    };
    next.protocol == first.protocol
        && next.host_address == first.host_address
        && next.container_port == first.container_port + count
        && next.host_port == host
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Timestamp;
    use std::time::Duration;
    use wherry_proto::v1::{ContainerSpec, ImageConfig, MountPoint};

    fn time(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn binding(host_address: &str, host_port: u32, container_port: u32) -> PortBinding {
        PortBinding {
            container_port,
            protocol: "tcp".to_owned(),
            host_address: host_address.to_owned(),
            host_port,
            host_port_last: 0,
        }
    }

    fn web() -> Container {
        Container {
            id: "0123456789abcdef".repeat(4),
            name: "web".to_owned(),
            spec: Some(ContainerSpec {
                image: "nginx".to_owned(),
                labels: [
                    ("b".to_owned(), "2".to_owned()),
                    ("a".to_owned(), "1".to_owned()),
                ]
                .into(),
                ports: vec![binding("", 8000, 80)],
                ..ContainerSpec::default()
            }),
            status: Status::Running.into(),
            created: time(1_700_000_000),
            started: time(1_700_000_060),
            ports: vec![
                binding("127.0.0.1", 8001, 81),
                binding("127.0.0.1", 8000, 80),
                binding("::1", 9000, 90),
            ],
            args: ["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"]
                .map(str::to_owned)
                .to_vec(),
            mounts: vec![
                MountPoint {
                    kind: Kind::Bind.into(),
                    source: "/srv".to_owned(),
                    target: "/data".to_owned(),
                    read_only: true,
                    ..MountPoint::default()
                },
                MountPoint {
                    kind: Kind::Volume.into(),
                    name: "cache".to_owned(),
                    source: "/var/lib/wherry/volumes/cache/_data".to_owned(),
                    target: "/cache".to_owned(),
                    ..MountPoint::default()
                },
            ],
            image_config: Some(ImageConfig {
                exposed_ports: vec!["80/tcp".to_owned(), "443/tcp".to_owned()],
                ..ImageConfig::default()
            }),
            ..Container::default()
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_180)
    }

    #[test]
    fn a_row_has_the_fields_of_dockers() {
        insta::assert_snapshot!(format!("{:#}", row(&web(), false, now())));
    }

    #[test]
    fn a_command_is_quoted_and_cut() {
        let args = |text: &str| vec![text.to_owned()];
        assert_eq!(command(&args("sh"), false), "\"sh\"");
        assert_eq!(
            command(&args("/docker-entrypoint.sh nginx"), false),
            "\"/docker-entrypoint.…\""
        );
        assert_eq!(
            command(&args("echo \"a\nb\""), true),
            "\"echo \\\"a\\nb\\\"\""
        );
    }
}
