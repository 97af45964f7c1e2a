//! Where a description's files come from.

use std::path::PathBuf;

use bollard_stubs::models::{ContainerCreateBody, HostConfig, Mount as ApiMount, MountType};
use wherry_proto::v1::Mount;
use wherry_proto::v1::mount::Kind;

use super::limits::{number, unsigned};
use crate::api::error::{ApiError, Result};

/// Returns every mount: binds, file systems in memory, what is described in the long
/// form, and the anonymous volumes whose places none of these takes.
pub(super) fn all(host: &HostConfig, volumes: Vec<String>) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for bind in host.binds.iter().flatten() {
        mounts.push(parse_bind(bind)?);
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        mounts.push(tmpfs(target, options));
    }
    for mount in host.mounts.clone().unwrap_or_default() {
        mounts.push(api_mount(mount)?);
    }
    for target in volumes {
        if !mounts.iter().any(|mount| mount.target == target) {
            mounts.push(Mount {
                kind: Kind::Volume.into(),
                target,
                ..Mount::default()
            });
        }
    }
    Ok(mounts)
}

/// Returns the host's folders that are made where they are missing: those of binds
/// in the short form, and of mounts that say so.
pub(in crate::api::containers) fn folders(body: &ContainerCreateBody) -> Vec<PathBuf> {
    let host = body.host_config.iter();
    let binds = host.clone().flat_map(|host| host.binds.iter().flatten());
    let binds = binds.filter_map(|bind| parse_bind(bind).ok().map(|mount| mount.host_source));
    let mounts = host.flat_map(|host| host.mounts.iter().flatten());
    let asked = |mount: &&ApiMount| {
        let options = mount.bind_options.as_ref();
        options.and_then(|options| options.create_mountpoint) == Some(true)
    };
    let mounts = mounts
        .filter(asked)
        .filter_map(|mount| mount.source.clone());
    let sources = binds.chain(mounts).filter(|source| !source.is_empty());
    sources.map(PathBuf::from).collect()
}

/// Reads `SOURCE:TARGET[:OPTIONS]`, of which the source is a host path or the name
/// of a volume, and `TARGET` alone, an anonymous volume.
fn parse_bind(text: &str) -> Result<Mount> {
    let invalid = || ApiError::bad_request(format!("invalid volume specification: '{text}'"));
    // A drive's letter is part of the path behind it.
    let drive =
        matches!(text.as_bytes(), [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic());
    let skipped = if drive { 2 } else { 0 };
    let (source, rest) = match text[skipped..].find(':') {
        Some(colon) => (&text[..skipped + colon], &text[skipped + colon + 1..]),
        None => ("", text),
    };
    let (target, options) = rest.split_once(':').unwrap_or((rest, ""));
    let is_path = drive || source.starts_with(['/', '\\', '~', '.']);
    if !target.starts_with('/') || (text.contains(':') && source.is_empty()) {
        return Err(invalid());
    }
    let mut mount = Mount {
        kind: if is_path { Kind::Bind } else { Kind::Volume }.into(),
        target: target.to_owned(),
        ..Mount::default()
    };
    if is_path {
        source.clone_into(&mut mount.host_source);
    } else {
        source.clone_into(&mut mount.source);
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => mount.read_only = true,
            "nocopy" => mount.no_copy = true,
            // Propagation within one guest, SELinux and caches of other engines:
            // nothing here depends on them.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "rprivate" | "private"
            | "rslave" | "slave" | "rshared" | "shared" => {}
            _ => return Err(invalid()),
        }
    }
    Ok(mount)
}

fn tmpfs(target: &str, options: &str) -> Mount {
    Mount {
        kind: Kind::Tmpfs.into(),
        target: target.to_owned(),
        tmpfs_options: options.to_owned(),
        ..Mount::default()
    }
}

fn api_mount(mount: ApiMount) -> Result<Mount> {
    let source = mount.source.unwrap_or_default();
    let mut made = Mount {
        target: mount.target.unwrap_or_default(),
        read_only: mount.read_only.unwrap_or_default(),
        ..Mount::default()
    };
    match mount.typ {
        Some(MountType::BIND) => {
            made.set_kind(Kind::Bind);
            made.host_source = source;
        }
        Some(MountType::VOLUME) => {
            made.set_kind(Kind::Volume);
            made.source = source;
            let options = mount.volume_options.unwrap_or_default();
            made.volume_subpath = options.subpath.unwrap_or_default();
            if made.volume_subpath.starts_with('/') {
                return Err(ApiError::bad_request(
                    "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
                ));
            }
            let driver = options.driver_config.unwrap_or_default();
            let is_local = matches!(driver.name.as_deref(), None | Some("" | "local"));
            if !is_local || driver.options.is_some_and(|options| !options.is_empty()) {
                return Err(ApiError::not_implemented(
                    "VolumeOptions.DriverConfig is not supported by Wherry: make the volume first, then mount it by its name",
                ));
            }
            made.no_copy = options.no_copy.unwrap_or_default();
            made.volume_labels = options.labels.unwrap_or_default();
        }
        Some(MountType::TMPFS) => {
            made.set_kind(Kind::Tmpfs);
            let options = mount.tmpfs_options.unwrap_or_default();
            made.tmpfs_size = unsigned("SizeBytes", options.size_bytes)?;
            made.tmpfs_mode = number("Mode", options.mode)?;
            // A flag alone, or a key and its value.
            let options = options.options.unwrap_or_default();
            let words = options.iter().map(|option| option.join("="));
            made.tmpfs_options = words.collect::<Vec<_>>().join(",");
        }
        other => {
            let kind = other.map_or_else(String::new, |kind| kind.to_string());
            return Err(ApiError::not_implemented(format!(
                "mounts of the type {kind:?} are not supported by Wherry"
            )));
        }
    }
    Ok(made)
}
