//! Images.

use serde_json::{Value, json};
use wherry_proto::v1::Image;

use crate::human;
use crate::reference::familiar;

/// Returns an image in the shape of `docker image inspect`.
pub fn inspect(image: &Image) -> Value {
    let config = image.config.clone().unwrap_or_default();
    let set = |items: &[String]| -> Value {
        let entries = items.iter().map(|item| (item.clone(), json!({})));
        Value::Object(entries.collect())
    };
    let labels: serde_json::Map<String, Value> = config
        .labels
        .into_iter()
        .map(|(key, value)| (key, value.into()))
        .collect();
    json!({
        "Id": image.id,
        "RepoTags": image.tags.iter().map(|tag| familiar(tag)).collect::<Vec<_>>(),
        "RepoDigests": image.digests.iter().map(|digest| familiar(digest)).collect::<Vec<_>>(),
        "Digest": image.manifest_digest,
        "Comment": image.comment,
        "Author": image.author,
        "DockerVersion": image.docker_version,
        "Variant": image.variant,
        "Created": human::rfc3339(image.created.as_ref()),
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "Config": {
            "User": config.user,
            "Env": config.env,
            "Entrypoint": config.entrypoint,
            "Cmd": config.cmd,
            "WorkingDir": config.working_dir,
            "Labels": labels,
            "ExposedPorts": set(&config.exposed_ports),
            "Volumes": set(&config.volumes),
            "StopSignal": config.stop_signal,
        },
        "RootFS": { "Type": "layers", "Layers": image.layers },
    })
}
