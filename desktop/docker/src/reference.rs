//! Names of images, as people write and read them.

/// Returns the name of an image without what everybody leaves out:
/// `docker.io/library/nginx:latest` is `nginx:latest`.
pub fn familiar(name: &str) -> &str {
    match name.strip_prefix("docker.io/") {
        Some(rest) => rest.strip_prefix("library/").unwrap_or(rest),
        None => name,
    }
}

/// Splits a familiar name into repository and tag.
pub fn split_tag(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        // A colon before a slash belongs to a registry's port.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "<none>"),
    }
}

/// Returns a name in full, `nginx` as `docker.io/library/nginx:latest`.
pub fn normalised(name: &str) -> String {
    let (repository, tag) = match split_tag(name) {
        (repository, "<none>") => (repository, "latest"),
        split => split,
    };
    let has_registry = repository
        .split_once('/')
        .is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost");
    match (has_registry, repository.contains('/')) {
        (true, _) => format!("{repository}:{tag}"),
        (false, true) => format!("docker.io/{repository}:{tag}"),
        (false, false) => format!("docker.io/library/{repository}:{tag}"),
    }
}

/// Returns the twelve digits that stand for an id.
pub fn short_id(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_the_default_registry() {
        for (full, short) in [
            ("docker.io/library/nginx:latest", "nginx:latest"),
            ("docker.io/me/app:1", "me/app:1"),
            ("ghcr.io/me/app:1", "ghcr.io/me/app:1"),
            ("localhost:5000/app:1", "localhost:5000/app:1"),
        ] {
            assert_eq!(familiar(full), short);
            assert_eq!(normalised(short), full);
        }
        assert_eq!(normalised("nginx"), "docker.io/library/nginx:latest");
        assert_eq!(
            split_tag("localhost:5000/app"),
            ("localhost:5000/app", "<none>")
        );
    }

    #[test]
    fn ids_are_shown_with_twelve_digits() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("0123"), "0123");
    }
}
