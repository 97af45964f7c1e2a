//! A container in a list.

use std::time::SystemTime;

use serde_json::{Value, json};
use wherry_proto::v1::Container;
use wherry_proto::v1::container::Status;

use super::{command, exposed_ports, labels, mount, status, status_name};
use crate::network;

/// Tells whether a container's processes are there, held or to be started again.
#[must_use]
pub fn is_running(container: &Container) -> bool {
    matches!(
        container.status(),
        Status::Running | Status::Paused | Status::Restarting
    )
}

/// Returns a container in the shape of `GET /containers/json`.
#[must_use]
pub fn summary(container: &Container, now: SystemTime) -> Value {
    let spec = container.spec.clone().unwrap_or_default();
    let mut networks = network::places(container, &spec);
    for place in networks.values_mut() {
        // Docker tells the names in an inspect alone.
        place["Aliases"] = Value::Null;
        place["DNSNames"] = Value::Null;
    }
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name)],
        "Image": spec.image,
        "ImageID": container.image_id,
        "Command": command(container).join(" "),
        "Created": container.created.as_ref().map_or(0, |time| time.seconds),
        "Ports": ports(container),
        "Labels": labels(container),
        "State": status_name(container.status()),
        "Status": status(container, now),
        "HostConfig": { "NetworkMode": network::mode(&spec) },
        "NetworkSettings": { "Networks": networks },
        "Mounts": container.mounts.iter().map(mount).collect::<Vec<_>>(),
    })
}

/// Returns the ports as they are bound, and those that are only exposed.
fn ports(container: &Container) -> Vec<Value> {
    if !is_running(container) {
        return Vec::new();
    }
    let bound = container.ports.iter().map(|port| {
        json!({
            "IP": port.host_address,
            "PrivatePort": port.container_port,
            "PublicPort": port.host_port,
            "Type": port.protocol,
        })
    });
    let exposed = exposed_ports(container);
    let exposed = exposed.iter().filter_map(|exposed| {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        let port: u32 = port.parse().ok()?;
        let is_bound = container
            .ports
            .iter()
            .any(|bound| bound.container_port == port && bound.protocol == protocol);
        (!is_bound).then(|| json!({ "PrivatePort": port, "Type": protocol }))
    });
    bound.chain(exposed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::sample;

    #[test]
    fn a_summary_has_the_shape_of_dockers() {
        insta::assert_snapshot!(format!("{:#}", summary(&sample::web(), sample::now())));
    }
}
