//! Archives to load: a real small root file system, and hostile ones.

use std::path::Path;

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Returns a root file system of Debian's static busybox, as tar.
///
/// # Errors
///
/// Where busybox is not installed.
pub fn busybox_root() -> anyhow::Result<Vec<u8>> {
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(Path::new)
        .find(|path| path.exists())
        .context("busybox-static is not installed")?;
    let list = std::process::Command::new(program).arg("--list").output()?;
    let mut root = tar::Builder::new(Vec::new());
    for folder in ["bin/", "etc/", "tmp/", "root/", "www/"] {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if folder == "tmp/" { 0o1777 } else { 0o755 });
        header.set_size(0);
        root.append_data(&mut header, folder, std::io::empty())?;
    }
    append(&mut root, "bin/busybox", &std::fs::read(program)?, 0o755)?;
    for applet in String::from_utf8(list.stdout)?.lines() {
        if applet == "busybox" {
            continue;
        }
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        root.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    append(
        &mut root,
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nsailor:x:1000:1000::/tmp:/bin/sh\n",
        0o644,
    )?;
    append(
        &mut root,
        "etc/group",
        b"root:x:0:\nsailor:x:1000:\n",
        0o644,
    )?;
    append(&mut root, "not-executable", b"#!/bin/sh\n", 0o644)?;
    append(&mut root, "www/index.html", b"a page of the image\n", 0o644)?;
    Ok(root.into_inner()?)
}

/// Appends a file to a tar.
///
/// # Errors
///
/// Those of the writer.
pub fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    bytes: &[u8],
    mode: u32,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, bytes)
}

/// Returns a tar whose one entry has any name at all, `../escape` too.
#[must_use]
pub fn layer_with_name(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_old();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut layer = header.as_bytes().to_vec();
    layer.extend_from_slice(bytes);
    layer.resize(layer.len().next_multiple_of(512) + 1024, 0);
    layer
}

/// Returns a Docker archive of one image with these layers.
///
/// # Errors
///
/// Those of the writer.
pub fn docker_archive(name: &str, layers: &[Vec<u8>]) -> anyhow::Result<Vec<u8>> {
    let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| format!("sha256:{}", digest(layer)))
        .collect();
    docker_archive_claiming(name, layers, &diff_ids)
}

/// Returns a Docker archive whose configuration claims these digests of its
/// layers, true or not.
///
/// # Errors
///
/// Those of the writer.
pub fn docker_archive_claiming(
    name: &str,
    layers: &[Vec<u8>],
    diff_ids: &[String],
) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let config = serde_json::to_vec(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }))?;
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    append(&mut archive, &config_name, &config, 0o644)?;
    let mut names = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let path = format!("layer{index}/layer.tar");
        append(&mut archive, &path, layer, 0o644)?;
        names.push(path);
    }
    let manifest = serde_json::to_vec(&json!([
        {"Config": config_name, "RepoTags": [name], "Layers": names}
    ]))?;
    append(&mut archive, "manifest.json", &manifest, 0o644)?;
    Ok(archive.into_inner()?)
}
