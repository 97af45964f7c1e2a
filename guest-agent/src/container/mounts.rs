//! What a new container mounts: what was asked for, what other containers
//! mount, and the volumes of its image.

use std::path::PathBuf;

use wherry_proto::v1::Mount;
use wherry_proto::v1::mount::Kind;

use super::Containers;
use super::error::Error;
use super::mount::{MountSource, ResolvedMount, open_bind_source};
use super::record::Record;
use super::tmpfs;
use super::volume::{ANONYMOUS, Turn, new_name};

impl Containers {
    /// Finds the source of every mount, and makes the volumes that are not
    /// there yet.
    ///
    /// What was asked for stands before what another container mounts, and that
    /// before the image's volumes (moby, daemon/volumes.go,
    /// `registerMountPoints`).
    pub(super) fn resolve_mounts(
        &self,
        record: &mut Record,
        turn: &Turn<'_>,
        made_volumes: &mut Vec<String>,
    ) -> Result<(), Error> {
        let durable = !record.spec.auto_remove;
        let mut mounts = Vec::new();
        for mount in &record.spec.mounts {
            mounts.push(self.resolve_mount(mount, turn, durable, made_volumes)?);
        }
        // Of two containers that mount something at the same place the later counts.
        for wanted in record.spec.volumes_from.iter().rev() {
            for mount in self.mounts_of(wanted)? {
                add(&mut mounts, mount);
            }
        }
        for target in &record.image_config.volumes {
            let target = target.trim_end_matches('/');
            let sound = target.starts_with('/') && !target.split('/').any(|part| part == "..");
            if sound && !mounts.iter().any(|mount| same_place(&mount.target, target)) {
                let mount = Mount {
                    kind: Kind::Volume.into(),
                    target: target.to_owned(),
                    ..Mount::default()
                };
                mounts.push(self.resolve_mount(&mount, turn, durable, made_volumes)?);
            }
        }
        // A mount below another one comes after it.
        mounts.sort_by_key(|mount| mount.target.trim_end_matches('/').matches('/').count());
        record.mounts = mounts;
        Ok(())
    }

    fn resolve_mount(
        &self,
        mount: &Mount,
        turn: &Turn<'_>,
        durable: bool,
        made_volumes: &mut Vec<String>,
    ) -> Result<ResolvedMount, Error> {
        let (mut options, mut read_only) = (Vec::new(), mount.read_only);
        let source = match mount.kind() {
            Kind::Bind if mount.engine_socket => MountSource::EngineSocket {
                host: mount.host_source.clone(),
            },
            Kind::Bind => {
                let path = PathBuf::from(&mount.source);
                open_bind_source(&self.places.shares, &path, &mount.host_source)?;
                MountSource::Bind {
                    path,
                    host: mount.host_source.clone(),
                }
            }
            Kind::Volume => {
                let anonymous = mount.source.is_empty();
                let mut labels: std::collections::BTreeMap<_, _> =
                    mount.volume_labels.clone().into_iter().collect();
                let name = if anonymous {
                    labels.insert(ANONYMOUS.to_owned(), String::new());
                    new_name()?
                } else {
                    mount.source.clone()
                };
                if self.volumes.ensure(turn, &name, labels, durable)? {
                    made_volumes.push(name.clone());
                    self.publish_volume(&name, "create");
                }
                MountSource::Volume {
                    name,
                    anonymous,
                    subpath: mount.volume_subpath.clone(),
                }
            }
            Kind::Tmpfs | Kind::Unspecified => {
                if mount.tmpfs_size != 0 {
                    options.push(format!("size={}", mount.tmpfs_size));
                }
                if mount.tmpfs_mode != 0 {
                    options.push(format!("mode={:o}", mount.tmpfs_mode & 0o7777));
                }
                let own = tmpfs::parse(&mount.tmpfs_options)?;
                read_only |= own.read_only;
                options.extend(own.others);
                MountSource::Tmpfs
            }
        };
        Ok(ResolvedMount {
            source,
            target: mount.target.clone(),
            read_only,
            no_copy: mount.no_copy,
            options,
        })
    }

    /// Returns the volumes and bind mounts of the container that `--volumes-from`
    /// names.
    fn mounts_of(&self, wanted: &str) -> Result<Vec<ResolvedMount>, Error> {
        let (container, read_only) = parse_volumes_from(wanted)?;
        let record = self.find(container)?.record();
        let shared = record
            .mounts
            .into_iter()
            .filter(|mount| mount.source != MountSource::Tmpfs);
        Ok(shared
            .map(|mount| ResolvedMount {
                read_only: mount.read_only || read_only,
                // The other container fills it.
                no_copy: true,
                ..mount
            })
            .collect())
    }
}

/// Splits `CONTAINER[:MODE]`, and tells whether the mode is read-only.
///
/// # Errors
///
/// [`Error::Invalid`] for any other mode than `ro` and `rw`, in Docker's words.
pub(super) fn parse_volumes_from(wanted: &str) -> Result<(&str, bool), Error> {
    let (container, mode) = wanted.split_once(':').unwrap_or((wanted, "rw"));
    if container.is_empty() {
        return Err(Error::Invalid(format!(
            "invalid volumes-from specification: {wanted:?} names no container"
        )));
    }
    match mode {
        "rw" => Ok((container, false)),
        "ro" => Ok((container, true)),
        mode => Err(Error::Invalid(format!("invalid mode: {mode}"))),
    }
}

/// Adds a mount unless something is mounted there.
fn add(mounts: &mut Vec<ResolvedMount>, mount: ResolvedMount) {
    if !mounts
        .iter()
        .any(|other| same_place(&other.target, &mount.target))
    {
        mounts.push(mount);
    }
}

fn same_place(one: &str, other: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        path.split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .map(str::to_owned)
            .collect()
    };
    parts(one) == parts(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_from_has_a_container_and_a_mode() {
        assert_eq!(parse_volumes_from("web").unwrap(), ("web", false));
        assert_eq!(parse_volumes_from("web:ro").unwrap(), ("web", true));
        assert_eq!(parse_volumes_from("web:rw").unwrap(), ("web", false));
        for wrong in ["web:x", "web:", ":ro", ""] {
            assert!(parse_volumes_from(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_place_is_the_same_however_it_is_written() {
        assert!(same_place("/a/b", "/a//b/"));
        assert!(same_place("/a/./b", "/a/b"));
        assert!(!same_place("/a/b", "/a/bc"));
    }
}
