use proptest::prelude::*;
use serde_json::json;

use crate::image::testing::{Sandbox, Tar, TestImage, add, gzip, names, zstd};
use crate::image::{Digest, Error};

fn layer() -> Vec<u8> {
    Tar::default()
        .dir("etc/")
        .file("etc/hostname", b"box\n")
        .symlink("bin", "usr/bin")
        .done()
}

fn upper() -> Vec<u8> {
    Tar::default()
        .dir("etc/")
        .file("etc/motd", b"hi\n")
        .file("etc/.wh.hostname", b"")
        .done()
}

fn image() -> TestImage {
    TestImage::new("app:1").layer(layer()).layer(upper())
}

fn assert_loaded(archive: &[u8]) {
    let sandbox = Sandbox::new();
    let loaded = sandbox.load(archive).unwrap();
    assert_eq!(loaded.len(), 1);
    let record = sandbox.store.inspect("app:1").unwrap();
    assert_eq!(record, loaded[0]);
    assert_eq!(record.names, ["docker.io/library/app:1"]);
    assert_eq!(record.config.cmd, ["/bin/sh"]);
    assert_eq!(record.config.exposed_ports, ["80/tcp"]);
    assert_eq!(record.created_ns, Some(1_714_564_800_000_000_000));
    assert_eq!(record.size(), 7);
    let first = sandbox.store.layer(&record.layers[0].diff_id);
    assert_eq!(std::fs::read(first.join("etc/hostname")).unwrap(), b"box\n");
    assert_eq!(names(&sandbox.store.temporary()), Vec::<String>::new());
    sandbox.assert_canary();
}

#[test]
fn docker_archives_load() {
    assert_loaded(&image().docker());
}

#[test]
fn oci_layouts_load() {
    assert_loaded(&image().layout());
}

#[test]
fn archives_packed_whole_load() {
    assert_loaded(&gzip(&image().docker()));
    assert_loaded(&zstd(&image().layout()));
}

#[test]
fn packed_layers_load() {
    let image = TestImage::new("app:1")
        .packed_layer(layer(), gzip)
        .packed_layer(upper(), zstd);
    assert_loaded(&image.layout());
    assert_loaded(&image.docker());
}

#[test]
fn any_order_of_members_loads() {
    let (mut blobs, entry) = image().blobs();
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    blobs.push(("./index.json".to_owned(), index.into_bytes()));
    blobs.push(("oci-layout".to_owned(), b"{}".to_vec()));
    for _ in 0..blobs.len() {
        blobs.rotate_left(1);
        assert_loaded(
            &blobs
                .iter()
                .fold(Tar::default(), |tar, (name, bytes)| add(tar, name, bytes))
                .done(),
        );
    }
}

#[test]
fn an_archive_that_is_both_has_the_names_of_both() {
    let image = image();
    let (mut blobs, entry) = image.blobs();
    let config = format!("blobs/sha256/{}", Digest::of(&image.config()).hex());
    let manifest = json!([{"Config": config, "RepoTags": ["other:2"], "Layers": []}]).to_string();
    blobs.push((
        "index.json".to_owned(),
        json!({"schemaVersion": 2, "manifests": [entry]})
            .to_string()
            .into_bytes(),
    ));
    blobs.push(("manifest.json".to_owned(), manifest.into_bytes()));
    let sandbox = Sandbox::new();
    let loaded = sandbox
        .load(
            &blobs
                .iter()
                .fold(Tar::default(), |tar, (name, bytes)| add(tar, name, bytes))
                .done(),
        )
        .unwrap();
    assert_eq!(
        loaded[0].names,
        ["docker.io/library/app:1", "docker.io/library/other:2"]
    );
}

#[test]
fn layers_shared_by_links_load() {
    let config = image().config();
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let manifest = json!([{"Config": config_name, "RepoTags": ["app:1"], "Layers": ["a/layer.tar", "b/layer.tar"]}]).to_string();
    let archive = Tar::default()
        .file("0/layer.tar", &layer())
        .symlink("a/layer.tar", "../0/layer.tar")
        .file("b/layer.tar", &upper())
        .file(&config_name, &config)
        .file("manifest.json", manifest.as_bytes())
        .done();
    assert_loaded(&archive);
}

#[test]
fn the_variant_for_this_machine_is_chosen() {
    let mut foreign = image();
    foreign.architecture = Some("s390x".to_owned());
    let ours = crate::image::oci::our_platform().architecture;
    let (mut blobs, mut our_entry) = image().blobs();
    let (more, mut foreign_entry) = foreign.blobs();
    blobs.extend(more.into_iter().take(2));
    our_entry["platform"] = json!({"os": "linux", "architecture": ours});
    foreign_entry["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let archive = |entries: serde_json::Value| {
        let inner = json!({"schemaVersion": 2, "manifests": entries})
            .to_string()
            .into_bytes();
        let name = format!("blobs/sha256/{}", Digest::of(&inner).hex());
        let outer = json!({"schemaVersion": 2, "manifests": [{
            "digest": Digest::of(&inner).to_string(), "size": inner.len(),
            "annotations": {"io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1"},
        }]});
        let tar = blobs
            .iter()
            .fold(Tar::default(), |tar, (name, bytes)| add(tar, name, bytes));
        add(
            add(tar, &name, &inner),
            "index.json",
            outer.to_string().as_bytes(),
        )
        .done()
    };
    assert_loaded(&archive(json!([foreign_entry, our_entry])));
    let sandbox = Sandbox::new();
    let error = sandbox.load(&archive(json!([foreign_entry]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the image app:1 has no variant for linux/{ours}, only for linux/s390x")
    );
    sandbox.assert_untouched();
}

#[track_caller]
fn assert_refused(archive: &[u8], part: &str) -> Error {
    let sandbox = Sandbox::new();
    let error = sandbox.load(archive).unwrap_err();
    assert!(error.to_string().contains(part), "{error}");
    sandbox.assert_untouched();
    error
}

#[test]
fn a_blob_that_lies_about_its_digest_is_refused_by_name() {
    let (blobs, entry) = image().blobs();
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    for lying in 0..blobs.len() {
        let mut tar = Tar::default().file("index.json", index.as_bytes());
        for (position, (name, bytes)) in blobs.iter().enumerate() {
            let mut bytes = bytes.clone();
            if position == lying {
                // In a layer: a file's content.
                let place = bytes
                    .windows(4)
                    .position(|window| window == b"box\n" || window == b"hi\n\0")
                    .unwrap_or(3);
                bytes[place] ^= 1;
            }
            tar = add(tar, name, &bytes);
        }
        let digits = blobs[lying].0.rsplit('/').next().unwrap();
        let error = assert_refused(&tar.done(), digits);
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    }
}

#[test]
fn a_wrong_size_or_diff_id_is_refused() {
    let (blobs, mut entry) = image().blobs();
    entry["size"] = json!(5);
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let tar = blobs
        .iter()
        .fold(Tar::default(), |tar, (name, bytes)| add(tar, name, bytes));
    assert_refused(
        &tar.file("index.json", index.as_bytes()).done(),
        "expected 5 bytes",
    );

    let mut lying = image();
    let wrong = Digest::of(b"other").to_string();
    lying.diff_ids = Some(vec![Digest::of(&layer()).to_string(), wrong.clone()]);
    for archive in [lying.layout(), lying.docker()] {
        assert_refused(
            &archive,
            &format!("expected {wrong}, found {}", Digest::of(&upper())),
        );
    }
    lying.diff_ids = Some(vec![wrong]);
    assert_refused(
        &lying.docker(),
        "the configuration has 1 layers, the manifest 2",
    );
}

#[test]
fn what_is_no_archive_is_refused() {
    assert_refused(b"", "it is empty");
    assert_refused(b"hello, this is no archive", "invalid archive");
    assert_refused(&layer(), "use import");
    assert_refused(
        &Tar::default().file("manifest.json", b"[]").done(),
        "it names no image",
    );
    assert_refused(
        &Tar::default().file("manifest.json", b"{").done(),
        "manifest.json cannot be read",
    );
    assert_refused(
        &Tar::default()
            .file(
                "index.json",
                br#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","size":1}]}"#,
            )
            .done(),
        "is not a sha256 digest",
    );
    let missing = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}","size":1}}]}}"#,
        Digest::of(b"")
    );
    assert_refused(
        &Tar::default().file("index.json", missing.as_bytes()).done(),
        "is missing",
    );
    let cycle = Tar::default()
        .symlink("a.json", "b.json")
        .symlink("b.json", "a.json");
    assert_refused(
        &cycle
            .file("manifest.json", br#"[{"Config":"a.json","Layers":null}]"#)
            .done(),
        "a.json is missing",
    );
    let mut nameless = image();
    nameless.names = vec!["UPPER".to_owned()];
    assert_refused(&nameless.docker(), "invalid reference");
}

#[test]
fn a_truncated_archive_is_refused_wherever_it_ends() {
    for archive in [
        image().docker(),
        image().layout(),
        gzip(&image().docker()),
        zstd(&image().layout()),
    ] {
        // Past the last member a tar's end marker may be missing, as for tar itself.
        let end = if archive.starts_with(&[0x1f, 0x8b]) || archive.starts_with(&[0x28, 0xb5]) {
            archive.len()
        } else {
            archive.len() - 1024 - 1024
        };
        for length in (0..end).step_by(if end > 4000 { 97 } else { 7 }) {
            let sandbox = Sandbox::new();
            assert!(
                sandbox.load(&archive[..length]).is_err(),
                "{length} of {}",
                archive.len()
            );
            sandbox.assert_untouched();
        }
    }
}

#[test]
fn a_corrupt_packed_layer_is_refused() {
    for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
        let packed = pack(&layer());
        for position in (12..packed.len()).step_by(5) {
            let mut corrupt = packed.clone();
            corrupt[position] ^= 0x55;
            let config = TestImage::new("app:1").layer(layer()).config();
            let manifest = br#"[{"Config":"config.json","RepoTags":["app:1"],"Layers":["l.tar"]}]"#;
            let archive = Tar::default()
                .file("config.json", &config)
                .file("l.tar", &corrupt)
                .file("manifest.json", manifest)
                .done();
            let sandbox = Sandbox::new();
            if sandbox.load(&archive).is_err() {
                sandbox.assert_untouched();
            } else {
                // Some bits of a packed stream mean nothing: the diff id held.
                assert_eq!(
                    sandbox.store.list()[0].layers[0].diff_id,
                    Digest::of(&layer())
                );
            }
        }
    }
}

#[test]
fn a_hostile_layer_leaves_no_trace() {
    let layer = Tar::default()
        .file("a", b"1")
        .file("../../../../outside/evil", b"2")
        .done();
    let error = assert_refused(
        &TestImage::new("app").layer(layer).docker(),
        "../../../../outside/evil",
    );
    assert!(matches!(error, Error::UnsafeEntry { .. }));
}

#[test]
fn a_failed_source_is_an_error() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the host is gone"))
        }
    }
    let sandbox = Sandbox::new();
    let archive = image().docker();
    let source = std::io::Read::chain(&archive[..3000], Broken);
    let error = sandbox.store.load(source, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("the host is gone"), "{error}");
    sandbox.assert_untouched();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_mutated_archive_never_escapes_nor_panics(
        docker: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut archive = if docker { image().docker() } else { image().layout() };
        for (place, value) in changes {
            let place = place.index(archive.len());
            archive[place] = value;
        }
        let sandbox = Sandbox::new();
        let loaded = sandbox.load(&archive);
        sandbox.assert_canary();
        if loaded.is_err() {
            sandbox.assert_untouched();
        }
    }
}
