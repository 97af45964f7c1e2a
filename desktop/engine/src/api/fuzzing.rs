//! What a stranger writes in requests: for the fuzzer, and for tests that feed it
//! random bytes.

use bollard_stubs::models::{
    ContainerCreateBody, ContainerUpdateBody, ExecConfig, NetworkCreateRequest, VolumeCreateRequest,
};
use http::Uri;

use super::query::Query;
use super::version::{self, NEWEST, OLDEST};
use super::{body, containers, history, images};

/// Reads a request: a line with its path and query, then its body. Panics where a
/// version is taken that is not spoken.
pub fn fuzz_request(data: &[u8]) {
    let split = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (line, rest) = data.split_at(split);
    if let Ok(uri) = Uri::try_from(line) {
        if let Ok((version, uri)) = version::split(&uri) {
            assert!((OLDEST..=NEWEST).contains(&version), "{version}");
            fuzz_query(&Query::of(&uri));
        }
        fuzz_query(&Query::of(&uri));
    }
    images::fuzz_headers(line);
    let text = rest.strip_prefix(b"\n").unwrap_or(rest);
    if let Ok(mut body) = body::parse::<ContainerCreateBody>(text) {
        history::container_of_client(&mut body, OLDEST);
        containers::fuzz_create(body);
    }
    containers::fuzz_commit(text);
    let _ = body::parse::<ContainerUpdateBody>(text);
    let _ = body::parse::<ExecConfig>(text);
    let _ = body::parse::<NetworkCreateRequest>(text);
    let _ = body::parse::<VolumeCreateRequest>(text);
}

fn fuzz_query(query: &Query) {
    for name in ["since", "until", "limit", "t", "h"] {
        let _ = (
            query.moment_ns(name),
            query.number::<u32>(name),
            query.flag(name),
        );
    }
    if let Ok(filters) = query.filters() {
        let label = "value".to_owned();
        let _ = (filters.until_ns(), filters.matches_labels(|_| Some(&label)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces of which requests are made, so that what is random gets past the
    /// first byte.
    fn request() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("/v1.41/containers/json".to_owned()),
            Just("?filters=".to_owned()),
            Just("%7B%22until%22:%5B%22".to_owned()),
            Just("&since=".to_owned()),
            Just("\n{\"HostConfig\":{\"Binds\":[\"".to_owned()),
            Just("\"],\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"".to_owned()),
            Just("\"}]}}}".to_owned()),
            "[0-9.:/é-]{0,9}",
            "\\PC{0,9}",
        ];
        let pieces = proptest::collection::vec(piece, 0..9);
        let bytes = proptest::collection::vec(any::<u8>(), 0..64);
        prop_oneof![
            pieces.prop_map(|pieces| pieces.concat().into_bytes()),
            bytes
        ]
    }

    proptest! {
        #[test]
        fn no_request_brings_the_reader_down(data in request()) {
            fuzz_request(&data);
        }
    }
}
