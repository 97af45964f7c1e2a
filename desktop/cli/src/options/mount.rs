//! `-v`, `--mount` and `--tmpfs`.

use std::path::{Component, Path, PathBuf};

use wherry_proto::v1::Mount;
use wherry_proto::v1::mount::Kind;

/// Parses the value of `-v`: `[HOST_PATH|VOLUME:]CONTAINER_PATH[:OPTIONS]`.
pub(crate) fn parse_volume(text: &str) -> Result<Mount, String> {
    Syntax::of_this_host()?.volume(text)
}

/// Parses the value of `--mount`: `type=bind,source=…,target=…[,readonly]`.
pub(crate) fn parse_mount(text: &str) -> Result<Mount, String> {
    Syntax::of_this_host()?.mount(text)
}

/// Parses the value of `--tmpfs`: `CONTAINER_PATH[:OPTIONS]`.
pub(crate) fn parse_tmpfs(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // The last three are how a tmpfs is mounted anyway.
            "rw" | "noexec" | "nosuid" | "nodev" => {}
            option => return Err(format!("the option {option:?} of a tmpfs is not supported")),
        }
    }
    Ok(Mount {
        kind: Kind::Tmpfs.into(),
        target: target_path(target)?,
        read_only,
        ..Mount::default()
    })
}

/// How host paths look.
struct Syntax {
    windows: bool,
    current: PathBuf,
}

impl Syntax {
    fn of_this_host() -> Result<Self, String> {
        let current = std::env::current_dir()
            .map_err(|error| format!("there is no current folder: {error}"))?;
        Ok(Self {
            windows: cfg!(windows),
            current,
        })
    }

    fn volume(&self, text: &str) -> Result<Mount, String> {
        let parts = self.split(text);
        let (source, target, options) = match parts[..] {
            [target] => ("", target, ""),
            [source, target] => (source, target, ""),
            [source, target, options] => (source, target, options),
            _ => {
                return Err("too many colons: write -v HOST_PATH:CONTAINER_PATH[:ro]".to_owned());
            }
        };
        let mut read_only = false;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" | "readonly" => read_only = true,
                // Labels for SELinux and hints for the caches of other engines:
                // nothing here depends on them.
                "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
                option => return Err(format!("the option {option:?} is unknown: use ro or rw")),
            }
        }
        if source.is_empty() && parts.len() > 1 {
            return Err(
                "nothing stands before the colon: write -v HOST_PATH:CONTAINER_PATH".to_owned(),
            );
        }
        self.of(None, source, target, read_only)
    }

    fn mount(&self, text: &str) -> Result<Mount, String> {
        let (mut kind, mut source, mut target, mut read_only) = (None, "", "", false);
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
                "readonly" | "ro" => {
                    read_only = match value {
                        None | Some("true" | "1") => true,
                        Some("false" | "0") => false,
                        Some(other) => {
                            return Err(format!("{key}={other} is neither true nor false"));
                        }
                    };
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
        self.of(Some(kind), source, target, read_only)
    }

    /// Makes the mount; without a kind, a source that looks like a path is a bind.
    fn of(
        &self,
        kind: Option<Kind>,
        source: &str,
        target: &str,
        read_only: bool,
    ) -> Result<Mount, String> {
        let kind = kind.unwrap_or(if self.is_path(source) {
            Kind::Bind
        } else {
            Kind::Volume
        });
        let mut mount = Mount {
            kind: kind.into(),
            target: target_path(target)?,
            read_only,
            ..Mount::default()
        };
        match kind {
            Kind::Bind => mount.host_source = self.absolute(source),
            Kind::Volume if !source.is_empty() => mount.source = volume_name(source)?,
            _ => {}
        }
        Ok(mount)
    }

    /// Splits at colons, but not behind a drive's letter.
    fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(colon) = rest[self.drive(rest)..].find(':') {
            let colon = colon + self.drive(rest);
            parts.push(&rest[..colon]);
            rest = &rest[colon + 1..];
        }
        parts.push(rest);
        parts
    }

    /// Returns the length of a drive's letter and its colon at the beginning of `text`.
    fn drive(&self, text: &str) -> usize {
        match text.as_bytes() {
            [letter, b':', b'/' | b'\\', ..] if self.windows && letter.is_ascii_alphabetic() => 2,
            _ => 0,
        }
    }

    fn is_path(&self, source: &str) -> bool {
        let begins = |prefix: &str| {
            source == prefix
                || source.strip_prefix(prefix).is_some_and(|rest| {
                    rest.starts_with('/') || (self.windows && rest.starts_with('\\'))
                })
        };
        source.starts_with('/')
            || begins(".")
            || begins("..")
            || self.drive(source) > 0
            || (self.windows && source.starts_with('\\'))
    }

    /// Makes a host path absolute and takes `.` and `..` out of it by name, as
    /// Docker does; links in it are the engine's business.
    fn absolute(&self, source: &str) -> String {
        if self.windows && !cfg!(windows) {
            // Only the tests come here: another system's paths are left as they are.
            return source.to_owned();
        }
        let mut path = PathBuf::new();
        for component in self.current.join(Path::new(source)).components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    path.pop();
                }
                component => path.push(component),
            }
        }
        path.to_string_lossy().into_owned()
    }
}

/// Checks a path in the container. The guest is Linux, whatever the host is.
fn target_path(target: &str) -> Result<String, String> {
    if !target.starts_with('/') {
        return Err(format!(
            "the container's path {target:?} must be absolute: write it with a leading /"
        ));
    }
    if target
        .split('/')
        .all(|part| matches!(part, "" | "." | ".."))
    {
        return Err(format!(
            "{target:?} is the container's root, which cannot be a mount"
        ));
    }
    Ok(target.to_owned())
}

/// Checks a volume's name, by Docker's rule.
fn volume_name(name: &str) -> Result<String, String> {
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let valid = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() > 1
        && name.chars().all(rest);
    if valid {
        Ok(name.to_owned())
    } else {
        let hint = if name.contains(['/', '\\']) {
            name
        } else {
            "NAME"
        };
        Err(format!(
            "{name:?} is no volume's name (letters, digits, _ . and -, at least two): for a folder of the host write ./{hint}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unix() -> Syntax {
        Syntax {
            windows: false,
            current: PathBuf::from("/home/me/work"),
        }
    }

    fn windows() -> Syntax {
        Syntax {
            windows: true,
            current: PathBuf::from("C:\\Users\\me"),
        }
    }

    fn bind(host_source: &str, target: &str, read_only: bool) -> Mount {
        Mount {
            kind: Kind::Bind.into(),
            source: String::new(),
            target: target.to_owned(),
            read_only,
            host_source: host_source.to_owned(),
        }
    }

    fn named(source: &str, target: &str, read_only: bool) -> Mount {
        Mount {
            kind: Kind::Volume.into(),
            source: source.to_owned(),
            target: target.to_owned(),
            read_only,
            host_source: String::new(),
        }
    }

    #[test]
    fn a_volume_is_a_path_or_a_name() {
        for (text, expected) in [
            ("/srv:/data", bind("/srv", "/data", false)),
            ("/srv:/data:ro", bind("/srv", "/data", true)),
            ("/srv:/data:rw,z", bind("/srv", "/data", false)),
            (".:/data", bind("/home/me/work", "/data", false)),
            ("./x:/data", bind("/home/me/work/x", "/data", false)),
            ("..:/data", bind("/home/me", "/data", false)),
            ("../a/../b/:/data", bind("/home/me/b", "/data", false)),
            ("/:/host:ro", bind("/", "/host", true)),
            ("/with space:/data", bind("/with space", "/data", false)),
            ("cache:/data", named("cache", "/data", false)),
            ("cache:/data:ro", named("cache", "/data", true)),
            ("/data", named("", "/data", false)),
        ] {
            assert_eq!(unix().volume(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_drives_letter_is_part_of_the_path_on_windows() {
        for (text, source, read_only) in [
            ("C:\\src:/data", "C:\\src", false),
            ("c:/src:/data:ro", "c:/src", true),
        ] {
            assert_eq!(
                windows().volume(text),
                Ok(bind(source, "/data", read_only)),
                "{text}"
            );
        }
        assert_eq!(
            windows().volume("cache:/data"),
            Ok(named("cache", "/data", false))
        );
    }

    #[test]
    fn a_wrong_volume_says_what_is_right() {
        for (text, words) in [
            ("", "absolute"),
            ("/a:b", "absolute"),
            ("/a:/", "root"),
            ("/a:/..", "root"),
            (":/data", "before the colon"),
            ("/a:/b:ro:x", "too many colons"),
            ("/a:/b:wo", "ro or rw"),
            ("src/app:/data", "./src/app"),
            ("~/x:/data", "./"),
            ("x:/data", "at least two"),
        ] {
            let error = unix().volume(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

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
        ] {
            let error = unix().mount(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_tmpfs_takes_its_path_and_refuses_options_by_name() {
        assert!(parse_tmpfs("/run:ro").unwrap().read_only);
        assert!(
            parse_tmpfs("/run:size=64m")
                .unwrap_err()
                .contains("size=64m")
        );
        assert!(parse_tmpfs("run").unwrap_err().contains("absolute"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_mount_or_an_error(text in "[a-zA-Z:./\\\\=,~é-]{0,30}") {
            for syntax in [unix(), windows()] {
                for mount in [syntax.volume(&text), syntax.mount(&text)].into_iter().flatten() {
                    prop_assert!(mount.target.starts_with('/'));
                }
            }
        }

        #[test]
        fn a_bind_on_unix_is_absolute_and_has_no_dots(path in "\\.{0,2}(/[a-z.]{1,4}){1,6}") {
            if let Ok(mount) = unix().volume(&format!("{path}:/data"))
                && mount.kind() == Kind::Bind
            {
                prop_assert!(mount.host_source.starts_with('/'));
                prop_assert!(!mount.host_source.split('/').any(|part| matches!(part, "." | "..")));
            }
        }
    }
}
