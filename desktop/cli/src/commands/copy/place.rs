//! What the two ends of a copy mean.

use std::path::PathBuf;

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A path of a container.
    Container { name: String, path: String },
    /// A path of the host.
    Local(PathBuf),
    /// A tar on standard input or output.
    Stream,
}

impl End {
    /// Reads `CONTAINER:PATH`, a path of the host, or `-`. What begins with a
    /// slash or a dot is of the host, colons or not.
    pub(super) fn parse(text: &str) -> Self {
        let local = || Self::Local(PathBuf::from(text));
        if text == "-" {
            return Self::Stream;
        }
        if text.starts_with(['/', '.', '\\']) || has_drive(text) {
            return local();
        }
        match text.split_once(':') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => Self::Container {
                name: name.to_owned(),
                path: path.to_owned(),
            },
            _ => local(),
        }
    }
}

/// Tells whether a path begins with one of Windows' drives.
fn has_drive(text: &str) -> bool {
    let bytes = text.as_bytes();
    cfg!(windows)
        && bytes.len() > 2
        && bytes[0].is_ascii_alphabetic()
        && bytes[1] == b':'
        && matches!(bytes[2], b'/' | b'\\')
}

/// Tells whether only a directory can be meant.
pub(super) fn means_directory(path: &str) -> bool {
    path.ends_with(['/', std::path::MAIN_SEPARATOR]) || means_content(path)
}

/// Tells whether what is in a directory is meant.
pub(super) fn means_content(path: &str) -> bool {
    path == "." || path.ends_with("/.") || (cfg!(windows) && path.ends_with("\\."))
}

/// Returns the directory of a path of a container.
pub(super) fn parent(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Returns the last component of a path of a container.
pub(super) fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns where a link of a container leads.
pub(super) fn join(directory: &str, target: &str) -> String {
    if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("{}/{target}", directory.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let container = |name: &str, path: &str| End::Container {
            name: name.to_owned(),
            path: path.to_owned(),
        };
        assert_eq!(End::parse("web:/a:b"), container("web", "/a:b"));
        assert_eq!(End::parse("web:a"), container("web", "a"));
        assert_eq!(End::parse("-"), End::Stream);
        for local in ["./web:/a", "/web:/a", "web", ":a", "web:", "..", "a/b"] {
            assert_eq!(End::parse(local), End::Local(local.into()), "{local}");
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        for (path, directory, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a", "/", "a"),
            ("a", "/", "a"),
            ("a/b", "a", "b"),
        ] {
            assert_eq!((parent(path), base_name(path)), (directory, name), "{path}");
        }
        assert_eq!(join("/a", "b"), "/a/b");
        assert_eq!(join("/a", "/b"), "/b");
        assert!(means_directory("a/") && means_directory("a/.") && !means_directory("a"));
        assert!(means_content(".") && means_content("a/.") && !means_content("a/"));
    }
}
