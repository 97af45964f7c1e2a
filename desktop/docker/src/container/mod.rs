//! Containers.

mod health;
mod host_config;
mod inspect;
#[cfg(test)]
pub(crate) mod sample;
mod summary;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use wherry_proto::v1::container::Status;
use wherry_proto::v1::mount::Kind;
use wherry_proto::v1::{Container, Mount, MountPoint, PortBinding};

use crate::human;

pub use health::word as health_word;
pub use inspect::inspect;
pub use summary::{is_running, summary};

/// Returns a container's state in Docker's word.
pub fn status_name(status: Status) -> &'static str {
    match status {
        Status::Unspecified => "unknown",
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
        Status::Dead => "dead",
    }
}

/// Returns a container's state in words, as `ps` shows it: `Up 2 minutes (healthy)`.
pub fn status(container: &Container, now: SystemTime) -> String {
    let up = || format!("Up {}", human::since(container.started.as_ref(), now));
    match container.status() {
        Status::Running => format!("{}{}", up(), health::suffix(container)),
        Status::Paused => format!("{} (Paused)", up()),
        Status::Restarting => format!(
            "Restarting ({}) {} ago",
            container.exit_code,
            human::since(container.finished.as_ref(), now)
        ),
        Status::Exited => format!(
            "Exited ({}) {} ago",
            container.exit_code,
            human::since(container.finished.as_ref(), now)
        ),
        Status::Created => "Created".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Unspecified => "Unknown".to_owned(),
    }
}

/// Returns the command of a container as its user means it: an init of ours that runs
/// it is none of that.
pub fn command(container: &Container) -> &[String] {
    match container.args.as_slice() {
        [init, dashes, command @ ..] if init == "/sbin/docker-init" && dashes == "--" => command,
        whole => whole,
    }
}

/// Returns the image's labels and the container's own, which count.
#[must_use]
pub fn labels(container: &Container) -> BTreeMap<String, String> {
    let image = container.image_config.iter();
    let own = container.spec.iter();
    image
        .flat_map(|config| &config.labels)
        .chain(own.flat_map(|spec| &spec.labels))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Returns the ports that the image and the user exposed, `"80/tcp"`.
pub fn exposed_ports(container: &Container) -> Vec<String> {
    let image = container.image_config.iter();
    let own = container.spec.iter();
    image
        .flat_map(|config| &config.exposed_ports)
        .chain(own.flat_map(|spec| &spec.exposed_ports))
        .cloned()
        .collect()
}

/// Returns a mount in the shape of `Mounts` of `docker inspect`.
pub fn mount(mount: &MountPoint) -> Value {
    let kind = match mount.kind() {
        Kind::Bind | Kind::Unspecified => "bind",
        Kind::Volume => "volume",
        Kind::Tmpfs => "tmpfs",
    };
    let mut value = json!({
        "Type": kind,
        "Source": mount.source,
        "Destination": mount.target,
        "Mode": if mount.read_only { "ro" } else { "" },
        "RW": !mount.read_only,
        "Propagation": if kind == "bind" { "rprivate" } else { "" },
    });
    if kind == "volume" {
        value["Name"] = mount.name.as_str().into();
        value["Driver"] = "local".into();
    }
    value
}

fn mount_source(mount: &Mount) -> &str {
    if mount.host_source.is_empty() {
        &mount.source
    } else {
        &mount.host_source
    }
}

fn port_name(binding: &PortBinding) -> String {
    format!("{}/{}", binding.container_port, binding.protocol)
}

pub(super) fn port_map(bindings: &[PortBinding]) -> Map<String, Value> {
    let mut map = Map::new();
    for binding in bindings {
        let host = match (binding.host_port, binding.host_port_last) {
            (0, _) => String::new(),
            (port, 0) => port.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let entry = map.entry(port_name(binding)).or_insert_with(|| json!([]));
        if let Value::Array(hosts) = entry {
            hosts.push(json!({"HostIp": binding.host_address, "HostPort": host}));
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_said_in_dockers_words() {
        let mut container = sample::web();
        for (state, words) in [
            (Status::Running, "Up 2 minutes"),
            (Status::Paused, "Up 2 minutes (Paused)"),
            (Status::Exited, "Exited (137) 30 seconds ago"),
            (Status::Restarting, "Restarting (137) 30 seconds ago"),
            (Status::Created, "Created"),
        ] {
            container.status = state.into();
            container.exit_code = 137;
            container.finished = sample::time(1_700_000_150);
            assert_eq!(status(&container, sample::now()), words);
        }
    }
}
