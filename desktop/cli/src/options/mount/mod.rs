//! `-v`, `--mount` and `--tmpfs`.

mod fields;
mod tmpfs;

pub(crate) use tmpfs::parse_tmpfs;

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
        let (mut read_only, mut no_copy) = (false, false);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" | "readonly" => read_only = true,
                "nocopy" => no_copy = true,
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
        let mount = self.of(None, source, target, read_only)?;
        if no_copy && mount.kind() != Kind::Volume {
            return Err(
                "nocopy is for volumes: a folder of the host is never copied to".to_owned(),
            );
        }
        Ok(Mount { no_copy, ..mount })
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

    pub(super) fn unix() -> Syntax {
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

    pub(super) fn bind(host_source: &str, target: &str, read_only: bool) -> Mount {
        Mount {
            kind: Kind::Bind.into(),
            source: String::new(),
            target: target.to_owned(),
            read_only,
            host_source: host_source.to_owned(),
            ..Mount::default()
        }
    }

    pub(super) fn named(source: &str, target: &str, read_only: bool) -> Mount {
        Mount {
            kind: Kind::Volume.into(),
            source: source.to_owned(),
            target: target.to_owned(),
            read_only,
            ..Mount::default()
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
