//! Folders of the host in containers.

use std::fs;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, wait};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("a_folder_is_read_and_written_from_both_sides", both_sides),
    ("a_read_only_mount_is_not_written", read_only),
    ("changes_on_the_host_are_seen_at_once", changes),
    ("a_link_out_of_the_share_stays_in_the_guest", link_out),
    ("a_named_volume_outlives_its_containers", named_volume),
];

fn text(path: &std::path::Path) -> anyhow::Result<&str> {
    path.to_str().context("no text")
}

fn both_sides(engine: &Engine) -> anyhow::Result<()> {
    let folder = engine.shared_folder()?;
    fs::write(folder.path().join("from-host"), "hello\n")?;
    let volume = format!("{}:/data", text(folder.path())?);
    let printed = engine.succeed(&[
        "run", "--rm", "-v", &volume, IMAGE, "sh", "-c", "cat /data/from-host; echo back > /data/from-guest; mkdir /data/d; mv /data/from-guest /data/d/f",
    ])?;
    ensure!(printed == "hello\n");
    ensure!(fs::read_to_string(folder.path().join("d/f"))? == "back\n");
    Ok(())
}

fn read_only(engine: &Engine) -> anyhow::Result<()> {
    let folder = engine.shared_folder()?;
    let volume = format!("{}:/data:ro", text(folder.path())?);
    let ran = engine.run(&["run", "--rm", "-v", &volume, IMAGE, "touch", "/data/x"])?;
    ensure!(ran.code == 1 && ran.stderr.contains("Read-only"), "{ran:?}");
    Ok(())
}

/// PITFALLS 10.
fn changes(engine: &Engine) -> anyhow::Result<()> {
    let folder = engine.shared_folder()?;
    let file = folder.path().join("file");
    fs::write(&file, "first version")?;
    let volume = format!("{}:/data", text(folder.path())?);
    engine.succeed(&[
        "run", "-d", "--name", "watcher", "-v", &volume, IMAGE, "sleep", "1000",
    ])?;
    let read = || engine.succeed(&["exec", "watcher", "cat", "/data/file"]);
    ensure!(read()? == "first version");
    fs::write(&file, "other words!!")?; // in place, of the same length
    ensure!(read()? == "other words!!", "overwritten: {}", read()?);
    fs::OpenOptions::new()
        .append(true)
        .open(&file)?
        .write_all(b" more")?;
    ensure!(read()? == "other words!! more", "appended: {}", read()?);
    fs::OpenOptions::new().write(true).open(&file)?.set_len(5)?;
    ensure!(read()? == "other", "truncated: {}", read()?);
    let replacement = folder.path().join("replacement");
    fs::write(&replacement, "replaced")?;
    fs::rename(&replacement, &file)?;
    ensure!(read()? == "replaced", "replaced: {}", read()?);
    fs::remove_file(&file)?;
    ensure!(engine.run(&["exec", "watcher", "cat", "/data/file"])?.code == 1);
    engine.succeed(&["rm", "-f", "watcher"])?;
    Ok(())
}

/// PITFALLS 17.
fn link_out(engine: &Engine) -> anyhow::Result<()> {
    let folder = engine.shared_folder()?;
    let outside = tempfile::NamedTempFile::new_in("/var/tmp")?;
    fs::write(outside.path(), "a secret of the host")?;
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link"))?;
    let volume = format!("{}:/data", text(folder.path())?);
    let ran = engine.run(&["run", "--rm", "-v", &volume, IMAGE, "cat", "/data/link"])?;
    ensure!(ran.code == 1 && !ran.stdout.contains("secret"), "{ran:?}");
    // The link itself as a source leads out of the shared folders.
    let volume = format!("{}:/data", text(&folder.path().join("link"))?);
    let error = engine.fail(125, &["run", "--rm", "-v", &volume, IMAGE, "cat", "/data"])?;
    ensure!(error.contains("not shared"), "{error}");
    Ok(())
}

fn named_volume(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&[
        "run",
        "--rm",
        "-v",
        "cargo:/hold",
        IMAGE,
        "sh",
        "-c",
        "echo rope > /hold/item",
    ])?;
    let printed = engine.succeed(&[
        "run",
        "--rm",
        "-v",
        "cargo:/hold",
        IMAGE,
        "cat",
        "/hold/item",
    ])?;
    ensure!(printed == "rope\n");
    wait::until("the removal of both", Duration::from_secs(10), || {
        Ok(engine
            .succeed(&["ps", "-aq", "--filter", "name=cargo"])?
            .is_empty())
    })
}
