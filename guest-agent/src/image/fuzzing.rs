//! What a stranger writes in names, manifests and configurations: for the
//! fuzzer, and for tests that feed it random texts.

#[cfg(fuzzing)]
pub(crate) use super::layer::fuzzing::fuzz_layer;
use super::oci::{Manifest, parse};
use super::{Platform, Reference, choose, summary};

/// Reads a name. Panics where one is taken that is no safe part of a URL, or
/// does not read back the same.
pub(crate) fn fuzz_reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(reference) = text.parse::<Reference>() else {
        return;
    };
    for form in [reference.to_string(), reference.familiar()] {
        let again = form.parse::<Reference>().map(|again| again.to_string());
        assert_eq!(
            again.ok(),
            Some(reference.to_string()),
            "{text:?} by {form:?}"
        );
    }
    let safe =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
    let path = reference.path();
    assert!(path.bytes().all(safe), "{path:?}");
    let mut parts = path.split('/');
    assert!(
        parts.all(|part| !part.is_empty() && part != "." && part != ".."),
        "{path:?}"
    );
    let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    assert!(
        reference.domain().bytes().all(host),
        "{:?}",
        reference.domain()
    );
}

/// Reads a manifest, an index or a configuration, as pulls and loads do.
pub(crate) fn fuzz_manifest(data: &[u8]) {
    if let Ok(manifest) = parse::<Manifest>("it", data) {
        for wanted in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            let Ok(wanted) = Platform::parse(wanted) else {
                continue;
            };
            if let Ok(entry) = choose(&manifest.manifests, &wanted) {
                let fits = entry
                    .platform
                    .as_ref()
                    .is_none_or(|platform| wanted.fits(platform));
                assert!(fits, "{entry:?} is not for {wanted}");
            }
        }
        // What is written of it reads back.
        let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
        assert!(parse::<Manifest>("it", &bytes).is_ok());
    }
    let _ = summary(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEEDS: [&str; 3] = [
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"c","digest":"sha256:00","size":2},"layers":[{"mediaType":"l","digest":"sha256:11","size":3,"annotations":{"a":"b"}}]}"#,
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:22","size":4,"platform":{"os":"linux","architecture":"arm","variant":"v7"}},{"digest":"sha256:33","size":5,"platform":{"os":"linux","architecture":"amd64"}}]}"#,
        r#"{"created":"2026-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{"Env":["A=1"],"ExposedPorts":{"80/tcp":{}},"Cmd":null},"rootfs":{"type":"layers","diff_ids":["sha256:44"]},"history":[{"created_by":"x","empty_layer":true}]}"#,
    ];
    const PIECES: [&str; 12] = [
        "null",
        "-1",
        "1e400",
        "18446744073709551616",
        "[]",
        "{}",
        "\"\"",
        "\"\\u0000\"",
        ",",
        "[[[[[[[[",
        "\u{fffd}",
        "\"../..\"",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn no_manifest_breaks_its_reader(
            seed in 0..SEEDS.len(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, 0..PIECES.len()), 0..6),
        ) {
            let mut bytes = SEEDS[seed].as_bytes().to_vec();
            for (place, removed, piece) in changes {
                let place = place.index(bytes.len() + 1);
                let end = (place + removed).min(bytes.len());
                bytes.splice(place..end, PIECES[piece].bytes());
            }
            fuzz_manifest(&bytes);
        }

        #[test]
        fn no_name_breaks_its_reader(text in "([a-zA-Z0-9._-]{0,6}[:/@]?){0,6}(@sha256:[0-9a-f]{62,66})?") {
            fuzz_reference(text.as_bytes());
        }

        #[test]
        fn no_text_breaks_its_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz_reference(&bytes);
            fuzz_manifest(&bytes);
        }
    }

    #[test]
    fn the_seeds_are_good() {
        for seed in &SEEDS[..2] {
            assert!(parse::<Manifest>("it", seed.as_bytes()).is_ok());
        }
    }
}
