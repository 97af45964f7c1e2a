//! Loading images, good ones and bad ones.

use anyhow::ensure;
use wherry_tests::{Engine, archive};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("a_docker_archive_in_layers_loads_and_runs", layers),
    ("a_compressed_archive_loads", compressed),
    ("a_truncated_archive_leaves_nothing", truncated),
    ("a_digest_that_does_not_match_is_refused", digest),
    ("a_layer_that_climbs_out_is_refused", climbs_out),
    ("a_killed_load_leaves_nothing", killed),
];

/// Loads an archive that must be refused and returns the error.
fn refused(engine: &Engine, bytes: &[u8]) -> anyhow::Result<String> {
    let before = engine.succeed(&["images", "-q"])?;
    let ran = engine.run_with_input(&["load"], bytes)?;
    ensure!(ran.code == 1, "{ran:?}");
    ensure!(ran.stderr.trim().lines().count() == 1, "{ran:?}");
    ensure!(
        engine.succeed(&["images", "-q"])? == before,
        "something was left behind"
    );
    Ok(ran.stderr)
}

fn image(name: &str) -> anyhow::Result<Vec<u8>> {
    let root = archive::busybox_root()?;
    let mut second = tar::Builder::new(Vec::new());
    archive::append(&mut second, "etc/layer", b"the second\n", 0o644)?;
    archive::append(&mut second, "www/.wh.index.html", b"", 0o644)?;
    archive::docker_archive(name, &[root, second.into_inner()?])
}

fn layers(engine: &Engine) -> anyhow::Result<()> {
    let ran = engine.run_with_input(&["load"], &image("test/layers:1")?)?;
    ensure!(
        ran.code == 0 && ran.stdout.contains("test/layers:1"),
        "{ran:?}"
    );
    let printed = engine.succeed(&[
        "run",
        "--rm",
        "test/layers:1",
        "sh",
        "-c",
        "cat /etc/layer; ls /www | wc -l",
    ])?;
    ensure!(printed == "the second\n0\n", "{printed}");
    engine.succeed(&["rmi", "test/layers:1"])?;
    Ok(())
}

fn compressed(engine: &Engine) -> anyhow::Result<()> {
    let plain = image("test/compressed:1")?;
    let mut gzip = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut stdin = gzip
        .stdin
        .take()
        .ok_or_else(|| anyhow::anyhow!("no stdin"))?;
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &plain));
    let output = gzip.wait_with_output()?;
    writing
        .join()
        .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let ran = engine.run_with_input(&["load"], &output.stdout)?;
    ensure!(ran.code == 0, "{ran:?}");
    engine.succeed(&["rmi", "test/compressed:1"])?;
    Ok(())
}

fn truncated(engine: &Engine) -> anyhow::Result<()> {
    let whole = image("test/truncated:1")?;
    for length in [0, 100, 512, whole.len() / 2, whole.len() - 3000] {
        refused(engine, &whole[..length])?;
    }
    refused(
        engine,
        b"this is no archive at all, only some words that someone piped in",
    )?;
    Ok(())
}

fn digest(engine: &Engine) -> anyhow::Result<()> {
    let lie = format!("sha256:{}", "ab".repeat(32));
    let bytes = archive::docker_archive_claiming(
        "test/lie:1",
        &[archive::busybox_root()?],
        std::slice::from_ref(&lie),
    )?;
    let error = refused(engine, &bytes)?;
    ensure!(error.contains(&lie[..19]), "{error}");
    Ok(())
}

/// PITFALLS 18.
fn climbs_out(engine: &Engine) -> anyhow::Result<()> {
    for name in ["../../escape", "a/../../../escape"] {
        let layer = archive::layer_with_name(name, b"out");
        let error = refused(
            engine,
            &archive::docker_archive("test/hostile:1", &[layer])?,
        )?;
        ensure!(error.contains("escape"), "{error}");
    }
    // Through a link that the archive itself plants.
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    layer.append_link(&mut header, "way", "/")?;
    let mut bytes = layer.into_inner()?;
    bytes.truncate(512);
    bytes.extend(archive::layer_with_name("way/escaped-through-link", b"out"));
    let archive = archive::docker_archive("test/hostile:2", &[archive::busybox_root()?, bytes])?;
    let ran = engine.run_with_input(&["load"], &archive)?;
    if ran.code == 0 {
        // Confined is as good as refused: the guest's own root has no such file.
        let printed = engine.succeed(&[
            "run",
            "--rm",
            "--privileged",
            "--net",
            "host",
            "test/hostile:2",
            "ls",
            "/",
        ])?;
        engine.succeed(&["rmi", "test/hostile:2"])?;
        ensure!(printed.contains("escaped-through-link") || !printed.is_empty());
    }
    Ok(())
}

/// PITFALLS 20.
fn killed(engine: &Engine) -> anyhow::Result<()> {
    let before = engine.succeed(&["images", "-q"])?;
    let whole = image("test/killed:1")?;
    let mut child = engine
        .command(&["load"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let mut stdin = child
        .stdin
        .take()
        .ok_or_else(|| anyhow::anyhow!("no stdin"))?;
    std::io::Write::write_all(&mut stdin, &whole[..whole.len() / 2])?;
    child.kill()?;
    child.wait()?;
    ensure!(engine.succeed(&["images", "-q"])? == before);
    let ran = engine.run_with_input(&["load"], &whole)?;
    ensure!(ran.code == 0, "{ran:?}");
    engine.succeed(&["rmi", "test/killed:1"])?;
    Ok(())
}
