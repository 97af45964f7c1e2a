//! Volumes, as `volume ls` and `inspect` show them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wherry_client::size;
use wherry_proto::v1::Volume;

use super::human;

/// Returns the fields of a volume in `volume ls`, named as Docker's.
pub(crate) fn row(volume: &Volume) -> Value {
    let labels: Vec<String> = sorted(volume)
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

/// Returns a volume in the shape of `docker volume inspect`.
pub(crate) fn inspect(volume: &Volume) -> Value {
    let labels = sorted(volume);
    json!({
        "CreatedAt": human::rfc3339(volume.created.as_ref()),
        "Driver": "local",
        // Docker has nothing here where there is none.
        "Labels": if labels.is_empty() { Value::Null } else { json!(labels) },
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": null,
        "Scope": "local",
    })
}

fn sorted(volume: &Volume) -> BTreeMap<&String, &String> {
    volume.labels.iter().collect()
}
