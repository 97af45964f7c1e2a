//! `GET /distribution/{name}/json`: what a name stands for in its registry.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};
use wherry_proto::v1::distribution_response::Platform;
use wherry_proto::v1::{DistributionRequest, DistributionResponse};

use super::{access, verb};
use crate::api::error::Result;
use crate::api::path::Name;
use crate::api::{Api, unknown};

pub(super) async fn inspect(
    State(api): State<Api>,
    Name(rest): Name,
    headers: HeaderMap,
) -> Result<Json<Value>> {
    let (name, "json") = verb(&rest) else {
        return Err(unknown().await);
    };
    let request = DistributionRequest {
        name: name.to_owned(),
        access: Some(access::of_image(&api, name, &headers)?),
    };
    let found = api.images().await?.distribution(request).await?;
    Ok(Json(shape(&found.into_inner())))
}

fn shape(found: &DistributionResponse) -> Value {
    let platforms: Vec<Value> = found.platforms.iter().map(platform).collect();
    json!({
        "Descriptor": {
            "mediaType": found.media_type, "digest": found.digest, "size": found.size,
        },
        "Platforms": if platforms.is_empty() { Value::Null } else { platforms.into() },
    })
}

/// Returns a platform as OCI has it: what is empty is left out, but for the first two.
fn platform(platform: &Platform) -> Value {
    let mut value = json!({"architecture": platform.architecture, "os": platform.os});
    for (key, text) in [
        ("os.version", &platform.os_version),
        ("variant", &platform.variant),
    ] {
        if !text.is_empty() {
            value[key] = text.clone().into();
        }
    }
    if !platform.os_features.is_empty() {
        value["os.features"] = platform.os_features.clone().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_of_a_platform_is_left_out() {
        let found = DistributionResponse {
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
            digest: "sha256:a".to_owned(),
            size: 5,
            platforms: vec![Platform {
                architecture: "arm64".to_owned(),
                os: "linux".to_owned(),
                variant: "v8".to_owned(),
                ..Platform::default()
            }],
        };
        assert_eq!(
            shape(&found)["Platforms"],
            json!([{"architecture": "arm64", "os": "linux", "variant": "v8"}])
        );
        assert_eq!(
            shape(&DistributionResponse::default())["Platforms"],
            Value::Null
        );
    }
}
