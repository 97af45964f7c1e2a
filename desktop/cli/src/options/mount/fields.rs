//! `--mount`, field by field.

use wherry_proto::v1::Mount;
use wherry_proto::v1::mount::Kind;

use super::Syntax;
use super::tmpfs::{tmpfs_mode, tmpfs_size};

impl Syntax {
    pub(super) fn mount(&self, text: &str) -> Result<Mount, String> {
        let (mut kind, mut source, mut target, mut read_only) = (None, "", "", false);
        let mut own = Mount::default();
        // The kind that a field is for, and the field.
        let mut fields: Vec<(Kind, &str)> = Vec::new();
        for field in text.split(',') {
            let (key, value) = field
                .split_once('=')
                .map_or((field, None), |(key, value)| (key, Some(value)));
            let given = || {
                value
                    .filter(|value| !value.is_empty())
                    .ok_or_else(|| format!("{key} needs a value: {key}=…"))
            };
            match key {
                "type" => {
                    kind = Some(match given()? {
                        "bind" => Kind::Bind,
                        "volume" => Kind::Volume,
                        "tmpfs" => Kind::Tmpfs,
                        other => {
                            return Err(format!(
                                "the type {other:?} is unknown: use bind, volume or tmpfs"
                            ));
                        }
                    });
                }
                "source" | "src" => source = given()?,
                "target" | "dst" | "destination" => target = given()?,
                "readonly" | "ro" => read_only = flag(key, value)?,
                "volume-nocopy" => {
                    own.no_copy = flag(key, value)?;
                    fields.push((Kind::Volume, key));
                }
                "volume-label" => {
                    let label = given()?;
                    let (name, value) = label.split_once('=').unwrap_or((label, ""));
                    own.volume_labels.insert(name.to_owned(), value.to_owned());
                    fields.push((Kind::Volume, key));
                }
                "volume-driver" if given()? != "local" => {
                    return Err(format!(
                        "there is no volume driver {:?}, only local",
                        given()?
                    ));
                }
                "volume-driver" => fields.push((Kind::Volume, key)),
                "tmpfs-size" => {
                    own.tmpfs_size = tmpfs_size(given()?)?;
                    fields.push((Kind::Tmpfs, key));
                }
                "tmpfs-mode" => {
                    own.tmpfs_mode = tmpfs_mode(given()?)?;
                    fields.push((Kind::Tmpfs, key));
                }
                // As for -v.
                "consistency" => {}
                other => {
                    return Err(format!(
                        "the field {other:?} is unknown: use type, source, target and readonly, \
                         as in type=bind,source=/srv,target=/data,readonly"
                    ));
                }
            }
        }
        if target.is_empty() {
            return Err("target is missing: where in the container, as in target=/data".to_owned());
        }
        let kind = kind.unwrap_or(Kind::Volume);
        match kind {
            Kind::Bind if source.is_empty() => {
                return Err(
                    "source is missing: which folder of the host, as in source=/srv".to_owned(),
                );
            }
            Kind::Tmpfs if !source.is_empty() => return Err("a tmpfs has no source".to_owned()),
            _ => {}
        }
        if let Some((_, field)) = fields.iter().find(|(wanted, _)| *wanted != kind) {
            return Err(format!(
                "{field} does not go with type={}",
                kind.as_str_name().to_ascii_lowercase()
            ));
        }
        let mount = self.of(Some(kind), source, target, read_only)?;
        Ok(Mount {
            kind: mount.kind,
            source: mount.source,
            target: mount.target,
            read_only: mount.read_only,
            host_source: mount.host_source,
            ..own
        })
    }
}

/// Reads the value of a field that is set or not.
fn flag(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("{key}={other} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::mount::tests::{bind, named, unix};

    #[test]
    fn mounts_are_read_field_by_field() {
        for (text, expected) in [
            (
                "type=bind,source=/srv,target=/data",
                bind("/srv", "/data", false),
            ),
            (
                "type=bind,src=.,dst=/data,readonly",
                bind("/home/me/work", "/data", true),
            ),
            (
                "type=bind,source=rel,destination=/d,ro=false",
                bind("/home/me/work/rel", "/d", false),
            ),
            (
                "type=volume,source=cache,target=/data",
                named("cache", "/data", false),
            ),
            ("source=cache,target=/data", named("cache", "/data", false)),
            ("target=/data", named("", "/data", false)),
        ] {
            assert_eq!(unix().mount(text), Ok(expected), "{text}");
        }
        let tmpfs = unix().mount("type=tmpfs,target=/run").unwrap();
        assert_eq!((tmpfs.kind(), tmpfs.target.as_str()), (Kind::Tmpfs, "/run"));
        let tmpfs = unix()
            .mount("type=tmpfs,target=/run,tmpfs-size=1m,tmpfs-mode=700")
            .unwrap();
        assert_eq!((tmpfs.tmpfs_size, tmpfs.tmpfs_mode), (1 << 20, 0o700));
        let volume = unix()
            .mount("source=cache,target=/data,volume-nocopy,volume-label=a=b,volume-driver=local")
            .unwrap();
        assert!(volume.no_copy);
        assert_eq!(volume.volume_labels["a"], "b");
    }

    #[test]
    fn a_wrong_mount_says_what_is_right() {
        for (text, words) in [
            ("type=bind,source=/srv", "target is missing"),
            ("type=bind,target=/data", "source is missing"),
            ("type=nfs,target=/data", "bind, volume or tmpfs"),
            ("type=bind,source=,target=/data", "needs a value"),
            ("type=tmpfs,source=/a,target=/data", "no source"),
            ("type=bind,source=/a,target=/data,shiny", "\"shiny\""),
            ("type=bind,source=/a,target=/data,ro=maybe", "neither"),
            ("type=volume,target=/data,tmpfs-size=1m", "type=volume"),
            (
                "type=bind,source=/a,target=/data,volume-nocopy",
                "type=bind",
            ),
            ("target=/data,volume-driver=nfs", "only local"),
            ("type=tmpfs,target=/data,tmpfs-mode=9", "octal"),
        ] {
            let error = unix().mount(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
