//! Volumes, as `volume ls` shows them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wherry_client::size;
use wherry_proto::v1::Volume;

/// Returns the fields of a volume in `volume ls`, named as Docker's.
pub(crate) fn row(volume: &Volume) -> Value {
    let labels: BTreeMap<_, _> = volume.labels.iter().collect();
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": volume.containers.len().to_string(),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": volume.size.map_or("N/A".to_owned(), size::decimal),
        "Status": "N/A",
    })
}
