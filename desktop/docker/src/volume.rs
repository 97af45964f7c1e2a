//! Volumes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wherry_proto::v1::Volume;

use crate::human;

/// Returns a volume in the shape of `docker volume inspect`.
pub fn inspect(volume: &Volume) -> Value {
    let labels: BTreeMap<_, _> = volume.labels.iter().collect();
    let options: BTreeMap<_, _> = volume.options.iter().collect();
    json!({
        "CreatedAt": human::rfc3339(volume.created.as_ref()),
        "Driver": "local",
        // Docker has nothing here where there is none.
        "Labels": if labels.is_empty() { Value::Null } else { json!(labels) },
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": if options.is_empty() { Value::Null } else { json!(options) },
        "Scope": "local",
    })
}
