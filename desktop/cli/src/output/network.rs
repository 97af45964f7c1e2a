//! Networks, as `network ls` shows them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wherry_docker::human;
use wherry_docker::reference::short_id;
use wherry_proto::v1::Network;

/// Returns the fields of a network in `network ls`, named as Docker's.
pub(crate) fn row(network: &Network, full: bool) -> Value {
    let labels: BTreeMap<_, _> = network.labels.iter().collect();
    let labels: Vec<String> = labels
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "CreatedAt": human::date(network.created.as_ref()),
        "Driver": network.driver,
        "ID": if full { network.id.as_str() } else { short_id(&network.id) },
        "IPv4": (!network.subnets.is_empty()).to_string(),
        "IPv6": network.ipv6.to_string(),
        "Internal": network.internal.to_string(),
        "Labels": labels.join(","),
        "Name": network.name,
        "Scope": "local",
    })
}
