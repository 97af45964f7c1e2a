//! Images.

use serde_json::{Value, json};
use wherry_proto::v1::Image;

use crate::reference::familiar;
use crate::{human, omit_empty, or_null};

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
    let mut inspected = json!({
        "Id": image.id,
        "Parent": "",
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
            "Entrypoint": or_null(json!(config.entrypoint)),
            "Cmd": or_null(json!(config.cmd)),
            "WorkingDir": config.working_dir,
            "Labels": or_null(labels),
            "ExposedPorts": or_null(set(&config.exposed_ports)),
            "Volumes": or_null(set(&config.volumes)),
            "OnBuild": null,
            "StopSignal": config.stop_signal,
        },
        "GraphDriver": { "Data": null, "Name": "overlayfs" },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
        "RootFS": { "Type": "layers", "Layers": image.layers },
    });
    omit_empty(&mut inspected, &["Variant"]);
    omit_empty(&mut inspected["Config"], &["ExposedPorts", "StopSignal"]);
    inspected
}

/// Returns an image in the shape of `GET /images/json`.
#[must_use]
pub fn summary(image: &Image) -> Value {
    let labels = image.config.as_ref().map(|config| &config.labels);
    let familiar =
        |names: &[String]| -> Value { names.iter().map(|name| familiar(name)).collect() };
    json!({
        "Id": image.id,
        "ParentId": "",
        "RepoTags": familiar(&image.tags),
        "RepoDigests": familiar(&image.digests),
        "Created": image.created.as_ref().map_or(0, |time| time.seconds),
        "Size": image.size,
        // Not counted.
        "SharedSize": -1,
        "Containers": -1,
        "Labels": labels.map_or(Value::Null, |labels| or_null(json!(labels))),
    })
}
