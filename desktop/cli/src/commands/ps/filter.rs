//! `wherry ps --filter`

use wherry_proto::v1::Container;
use wherry_proto::v1::container::Status;

use crate::commands::filter::{self, Label};
use crate::failure::Failure;

/// When it was made, as a key to sort by.
pub(super) fn age(container: &Container) -> Option<(i64, i32)> {
    container.created.map(|time| (time.seconds, time.nanos))
}

/// Keeps the containers made before or after the one that a filter names.
pub(super) fn keep_by_age(containers: &mut Vec<Container>, filter: &Filter) -> Result<(), Failure> {
    let (Filter::Before(name) | Filter::Since(name)) = filter else {
        return Ok(());
    };
    let is_named =
        |container: &&Container| container.name == *name || container.id.starts_with(name.as_str());
    let named = containers.iter().find(is_named).map(age);
    let named = named.ok_or_else(|| Failure::new(format!("No such container: {name}")))?;
    match filter {
        Filter::Before(_) => containers.retain(|container| age(container) < named),
        _ => containers.retain(|container| age(container) > named),
    }
    Ok(())
}

/// What `--filter` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Before(String),
    Since(String),
    Volume(String),
    Network(String),
    Publish(Ports),
    Expose(Ports),
    Name(String),
    Id(String),
    Status(String),
    Exited(i32),
    Health(String),
    Ancestor(String),
    Label(Label),
}

/// Reads `KEY=VALUE`.
pub(super) fn parse(text: &str) -> Result<Filter, String> {
    let keys = "name, id, status, health, label, ancestor, exited, before, since, volume, network, publish and expose";
    let (key, value) = filter::split(text, keys)?;
    Ok(match key {
        "name" => Filter::Name(value.trim_start_matches('/').to_owned()),
        "id" => Filter::Id(value.to_owned()),
        "status" => {
            let known = [
                Status::Created,
                Status::Running,
                Status::Paused,
                Status::Restarting,
                Status::Exited,
                Status::Dead,
            ];
            let known = known.map(wherry_docker::container::status_name);
            if !known.contains(&value) {
                return Err(format!(
                    "there is no status {value:?}: use {}",
                    known.join(", ")
                ));
            }
            Filter::Status(value.to_owned())
        }
        "exited" => Filter::Exited(
            value
                .parse()
                .map_err(|_| format!("{value:?} is no exit code"))?,
        ),
        "health" if ["starting", "healthy", "unhealthy", "none"].contains(&value) => {
            Filter::Health(value.to_owned())
        }
        "health" => {
            return Err(format!(
                "there is no health {value:?}: use starting, healthy, unhealthy or none"
            ));
        }
        "before" if !value.is_empty() => Filter::Before(value.to_owned()),
        "since" if !value.is_empty() => Filter::Since(value.to_owned()),
        "volume" => Filter::Volume(value.to_owned()),
        "network" => Filter::Network(value.to_owned()),
        "publish" => Filter::Publish(parse_ports(value)?),
        "expose" => Filter::Expose(parse_ports(value)?),
        "ancestor" => Filter::Ancestor(wherry_docker::reference::normalised(value)),
        "label" => Filter::Label(Label::read(value)),
        other => return Err(filter::unknown(other, keys)),
    })
}

/// Ports of one protocol, first and last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    first: u32,
    last: u32,
    protocol: String,
}

impl Ports {
    fn contain(&self, port: u32, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && protocol == self.protocol
    }
}

fn parse_ports(text: &str) -> Result<Ports, String> {
    let wrong = || format!("{text:?} is no port: write 80, 8000-8010 or 53/udp");
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse::<u16>().map(u32::from).map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if first > last || !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    Ok(Ports {
        first,
        last,
        protocol: protocol.to_owned(),
    })
}

pub(super) fn matches(filters: &[Filter], container: &Container) -> bool {
    let labels = || container.spec.iter().flat_map(|spec| &spec.labels);
    let mounts = || container.spec.iter().flat_map(|spec| &spec.mounts);
    let published = || {
        let wished = container.spec.iter().flat_map(|spec| &spec.ports);
        wished.chain(&container.ports)
    };
    let exposed = || wherry_docker::container::exposed_ports(container);
    let one = |filter: &Filter| match filter {
        Filter::Name(part) => container.name.contains(part.as_str()),
        Filter::Id(prefix) => container.id.starts_with(prefix.as_str()),
        Filter::Status(status) => {
            wherry_docker::container::status_name(container.status()) == status
        }
        Filter::Exited(code) => {
            container.status() == Status::Exited && container.exit_code == *code
        }
        // They were looked at by their age before.
        Filter::Before(_) | Filter::Since(_) => true,
        Filter::Volume(wanted) => mounts()
            .any(|mount| [&mount.source, &mount.host_source, &mount.target].contains(&wanted)),
        Filter::Network(wanted) => container.spec.as_ref().is_some_and(|spec| {
            let names = wherry_docker::network::names(spec);
            let ids = container.endpoints.iter();
            names.contains(&wanted.as_str())
                || ids
                    .map(|place| &place.network)
                    .any(|id| wanted.len() >= 12 && id.starts_with(wanted.as_str()))
        }),
        Filter::Publish(wanted) => {
            published().any(|port| wanted.contain(port.container_port, &port.protocol))
        }
        Filter::Expose(wanted) => {
            published().any(|port| wanted.contain(port.container_port, &port.protocol))
                || exposed().iter().any(|port| {
                    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                    number
                        .parse()
                        .is_ok_and(|number| wanted.contain(number, protocol))
                })
        }
        Filter::Health(word) => wherry_docker::container::health_word(container) == word,
        Filter::Ancestor(image) => container.spec.as_ref().is_some_and(|spec| {
            wherry_docker::reference::normalised(wherry_docker::reference::familiar(&spec.image))
                == *image
        }),
        Filter::Label(label) => label.is_among(labels()),
    };
    filter::all_match(filters, |filter| matches!(filter, Filter::Label(_)), one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::{ContainerSpec, ImageConfig, Mount, PortBinding};

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| parse(text).unwrap()).collect()
    }

    #[test]
    fn filters_of_one_key_are_alternatives_and_keys_add_up() {
        let container = Container {
            id: "abc123".to_owned(),
            name: "web-1".to_owned(),
            status: Status::Exited.into(),
            exit_code: 3,
            spec: Some(ContainerSpec {
                image: "nginx".to_owned(),
                labels: [("a".to_owned(), "1".to_owned())].into(),
                mounts: vec![Mount {
                    source: "data".to_owned(),
                    target: "/data".to_owned(),
                    ..Mount::default()
                }],
                ports: vec![PortBinding {
                    container_port: 80,
                    protocol: "tcp".to_owned(),
                    ..PortBinding::default()
                }],
                ..ContainerSpec::default()
            }),
            image_config: Some(ImageConfig {
                exposed_ports: vec!["443/tcp".to_owned()],
                ..ImageConfig::default()
            }),
            ..Container::default()
        };
        for (texts, expected) in [
            (&[][..], true),
            (&["name=web"], true),
            (&["name=db", "name=web"], true),
            (&["name=db"], false),
            (&["name=web", "status=running"], false),
            (&["name=web", "status=running", "status=exited"], true),
            (&["id=abc"], true),
            (&["id=bc1"], false),
            (&["exited=3"], true),
            (&["exited=0"], false),
            (&["label=a"], true),
            (&["label=a=1"], true),
            (&["label=a", "label=b"], false),
            (&["ancestor=nginx:latest"], true),
            (&["ancestor=redis"], false),
            (&["network=bridge"], true),
            (&["network=host"], false),
            (&["volume=data"], true),
            (&["volume=/data"], true),
            (&["volume=other"], false),
            (&["publish=80"], true),
            (&["publish=79-81/tcp"], true),
            (&["publish=80/udp"], false),
            (&["publish=443"], false),
            (&["expose=443"], true),
            (&["health=none"], true),
            (&["health=healthy"], false),
        ] {
            assert_eq!(matches(&filters(texts), &container), expected, "{texts:?}");
        }
    }

    #[test]
    fn age_is_told_by_another_container() {
        let container = |name: &str, seconds| Container {
            id: format!("id-of-{name}"),
            name: name.to_owned(),
            created: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..Container::default()
        };
        let kept = |filter: &str| {
            let mut all = vec![container("a", 1), container("b", 2), container("c", 3)];
            keep_by_age(&mut all, &parse(filter).unwrap()).map(|()| {
                let names = all.into_iter().map(|container| container.name);
                names.collect::<Vec<_>>().concat()
            })
        };
        assert_eq!(kept("before=b").ok().unwrap(), "a");
        assert_eq!(kept("since=id-of-b").ok().unwrap(), "c");
        assert!(kept("since=d").is_err());
    }

    #[test]
    fn an_unknown_filter_is_told_with_those_there_are() {
        assert!(
            parse("colour=red")
                .unwrap_err()
                .contains("name, id, status")
        );
        assert!(parse("status=happy").unwrap_err().contains("running"));
        assert!(parse("name").unwrap_err().contains("KEY=VALUE"));
    }
}
