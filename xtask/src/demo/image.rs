//! The demo's image: nginx out of Debian's packages, as an OCI archive of two
//! layers.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use wherry_linuxkit::default_cache;

use crate::packages;

/// The packages: the server, and a shell with its tools for `exec`.
const PACKAGES: &str = "nginx-light,busybox-static";

/// The name it is loaded under.
pub(super) const NAME: &str = "wherry-demo/nginx:latest";

const NGINX_CONFIGURATION: &str = "\
user www-data;
worker_processes 1;
daemon off;
error_log stderr;
events { worker_connections 1024; }
http {
    include mime.types;
    access_log /dev/stdout;
    # Shared files change behind the server's back.
    sendfile off;
    server {
        listen 80;
        listen [::]:80;
        root /usr/share/nginx/html;
    }
}
";

/// Returns the image's archive, and whether it was there already.
///
/// # Errors
///
/// Where Debian's packages cannot be had or the archive cannot be written.
pub(super) fn archive() -> anyhow::Result<(PathBuf, bool)> {
    let mut inputs = Sha256::new();
    for input in [packages::RELEASE, PACKAGES, NAME, NGINX_CONFIGURATION, "2"] {
        inputs.update(input);
        inputs.update([0]);
    }
    let folder = default_cache().join("demo");
    let path = folder.join(format!(
        "nginx-{}.tar",
        &hex::encode(inputs.finalize())[..16]
    ));
    if path.exists() {
        return Ok((path, true));
    }
    std::fs::create_dir_all(&folder)?;
    let root = folder.join(format!("packages-{}.tar", std::process::id()));
    let built = packages::unpack(PACKAGES, &root).and_then(|()| write_archive(&root, &path));
    let _ = std::fs::remove_file(&root);
    built?;
    Ok((path, false))
}

/// The second layer: what the packages' installation scripts would have done.
fn configuration_layer() -> anyhow::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    let mut file = |path: &str, contents: &str, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(contents.len() as u64);
        header.set_mode(mode);
        layer.append_data(&mut header, path, contents.as_bytes())
    };
    file("etc/nginx/nginx.conf", NGINX_CONFIGURATION, 0o644)?;
    file(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n",
        0o644,
    )?;
    file("etc/group", "root:x:0:\nwww-data:x:33:\n", 0o644)?;
    file(
        "usr/share/nginx/html/index.html",
        "<h1>nginx in a Wherry container</h1>\n",
        0o644,
    )?;
    // These come with Debian's base system, which is not in this image.
    for (path, mode) in [("run/", 0o755), ("tmp/", 0o1777)] {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(mode);
        layer.append_data(&mut header, path, std::io::empty())?;
    }
    for tool in [
        "sh", "ls", "cat", "ps", "hostname", "ip", "id", "env", "uname", "wget",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, format!("bin/{tool}"), "busybox")?;
    }
    Ok(layer.into_inner()?)
}

fn write_archive(packages: &Path, output: &Path) -> anyhow::Result<()> {
    let partial = output.with_extension("partial");
    let mut archive = tar::Builder::new(File::create(&partial)?);
    let (packages_digest, packages_size) = digest_file(packages)?;
    let configuration = configuration_layer()?;
    let configuration_digest = digest(&configuration);

    append_blob(
        &mut archive,
        &packages_digest,
        packages_size,
        File::open(packages)?,
    )?;
    append_blob(
        &mut archive,
        &configuration_digest,
        configuration.len() as u64,
        configuration.as_slice(),
    )?;

    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": ["nginx"],
            "ExposedPorts": {"80/tcp": {}},
            "StopSignal": "SIGQUIT",
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [format!("sha256:{packages_digest}"), format!("sha256:{configuration_digest}")],
        },
    });
    let config = append_json(
        &mut archive,
        &config,
        "application/vnd.oci.image.config.v1+json",
    )?;
    let layer = |digest: &str, size: u64| {
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{digest}"),
            "size": size,
        })
    };
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": config,
        "layers": [
            layer(&packages_digest, packages_size),
            layer(&configuration_digest, configuration.len() as u64),
        ],
    });
    let mut manifest = append_json(&mut archive, &manifest, manifest_type)?;
    manifest["annotations"] = json!({"io.containerd.image.name": format!("docker.io/{NAME}")});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [manifest]}))?;
    append(
        &mut archive,
        "index.json",
        index.len() as u64,
        index.as_slice(),
    )?;
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    append(
        &mut archive,
        "oci-layout",
        layout.len() as u64,
        layout.as_slice(),
    )?;
    archive.into_inner()?.sync_all()?;
    std::fs::rename(&partial, output)?;
    Ok(())
}

fn append(
    archive: &mut tar::Builder<File>,
    path: &str,
    size: u64,
    bytes: impl Read,
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, bytes)?;
    Ok(())
}

fn append_blob(
    archive: &mut tar::Builder<File>,
    digest: &str,
    size: u64,
    bytes: impl Read,
) -> anyhow::Result<()> {
    append(archive, &format!("blobs/sha256/{digest}"), size, bytes)
}

/// Appends a JSON blob and returns its descriptor.
fn append_json(
    archive: &mut tar::Builder<File>,
    value: &Value,
    media_type: &str,
) -> anyhow::Result<Value> {
    let bytes = serde_json::to_vec(value)?;
    let digest = digest(&bytes);
    append_blob(archive, &digest, bytes.len() as u64, bytes.as_slice())?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn digest_file(path: &Path) -> anyhow::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hex::encode(hash.finalize()), size));
        }
        hash.write_all(&buffer[..count])?;
        size += count as u64;
    }
}
