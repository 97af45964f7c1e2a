//! Bodies of requests, read as Go reads them.

use axum::body::Body;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ApiError, Result};

/// The longest JSON body, bytes.
const LONGEST: usize = 8 * 1024 * 1024;

/// Reads a JSON body. An empty one reads as the default; `null` as left out.
///
/// # Errors
///
/// 400 for what is no JSON of this type, or too long.
pub(super) async fn json<T: DeserializeOwned + Default>(body: Body) -> Result<T> {
    let bytes = read(body).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    parse(&bytes)
}

async fn read(body: Body) -> Result<Bytes> {
    axum::body::to_bytes(body, LONGEST).await.map_err(|error| {
        ApiError::bad_request(format!(
            "the request's body is cut off or longer than 8 MiB: {error}"
        ))
    })
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let invalid = |error| ApiError::bad_request(format!("invalid JSON: {error}"));
    let mut value: Value = serde_json::from_slice(bytes).map_err(invalid)?;
    normalize(&mut value);
    serde_json::from_value(value).map_err(invalid)
}

/// Returns rows and columns; 0 for what is left out or beyond any terminal.
pub(super) fn terminal_size(size: Option<&[usize]>) -> [u32; 2] {
    let side = |index: usize| {
        let side = size.and_then(|size| size.get(index)).copied();
        side.and_then(|side| u16::try_from(side).ok())
            .map_or(0, u32::from)
    };
    [side(0), side(1)]
}

/// Takes out what Go's decoder takes for the zero value: `null`s, and the empty
/// words of enumerations.
fn normalize(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["Cmd", "Entrypoint"] {
                if let Some(Value::String(word)) = fields.get(key) {
                    let word = Value::String(word.clone());
                    fields.insert(key.to_owned(), Value::Array(vec![word]));
                }
            }
            for key in ["CgroupnsMode", "Isolation", "Propagation"] {
                if fields.get(key).is_some_and(|word| word == "") {
                    fields.remove(key);
                }
            }
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(normalize);
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_stubs::models::ContainerCreateBody;

    #[test]
    fn what_clients_send_is_read() {
        let body = br#"{"Cmd": "ls", "Entrypoint": null, "Labels": null, "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"Isolation": "", "CgroupnsMode": "", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": null},
            "RestartPolicy": {"Name": "", "MaximumRetryCount": 0}, "Unknown": 3}}"#;
        let body: ContainerCreateBody = parse(body).unwrap();
        assert_eq!(body.cmd, Some(vec!["ls".to_owned()]));
        assert_eq!(body.exposed_ports, Some(vec!["80/tcp".to_owned()]));
        assert_eq!(body.entrypoint, None);
    }

    #[test]
    fn what_is_no_json_is_a_bad_request() {
        let error = parse::<ContainerCreateBody>(b"{\"Cmd\": 3}").unwrap_err();
        assert!(
            error.message().starts_with("invalid JSON"),
            "{}",
            error.message()
        );
    }
}
