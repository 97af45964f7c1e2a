use std::fmt;
use std::str::FromStr;

use super::{Digest, Error};

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL: &str = "library/";
/// The longest repository name, domain included, as the distribution project limits it.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// An image's name, normalised as Docker does it: `nginx` is
/// `docker.io/library/nginx:latest`. The grammar is that of the distribution
/// project's `reference` package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the registry, `docker.io`.
    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the repository within the registry, `library/nginx`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag, where the name has one.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the name without tag and digest, `docker.io/library/nginx`.
    pub(crate) fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the name by a digest alone, `docker.io/library/nginx@sha256:…`.
    pub(crate) fn canonical(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.repository())
    }

    /// Returns the digest, where the name has one.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns the short form that users write and lists show: `nginx:latest`.
    pub(crate) fn familiar(&self) -> String {
        self.familiar_repository() + &self.suffix()
    }

    /// Returns the short form without tag and digest: `nginx`.
    pub(crate) fn familiar_repository(&self) -> String {
        if self.domain == DEFAULT_DOMAIN {
            match self.path.strip_prefix(OFFICIAL) {
                // `library/a/b` must keep its prefix to be read back the same.
                Some(rest) if !rest.contains('/') => rest.to_owned(),
                // `docker.io/a.b/c` without its registry would name the registry a.b.
                _ if self.path.split('/').next().is_some_and(looks_like_domain) => {
                    format!("{DEFAULT_DOMAIN}/{}", self.path)
                }
                _ => self.path.clone(),
            }
        } else {
            format!("{}/{}", self.domain, self.path)
        }
    }

    fn suffix(&self) -> String {
        let mut suffix = String::new();
        if let Some(tag) = &self.tag {
            suffix.push(':');
            suffix.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            suffix.push('@');
            suffix.push_str(&digest.to_string());
        }
        suffix
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference, Error> {
        parse(text).map_err(|reason| Error::InvalidReference {
            reference: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if Digest::from_hex(text).is_some() {
        return Err("64 hexadecimal digits are an image id, not a name");
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => {
            let digest = digest
                .parse()
                .map_err(|_| "what follows the @ is not a sha256 digest")?;
            (name, Some(digest))
        }
        None => (text, None),
    };
    let (name, tag) = match name.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (domain, path) = split_domain(name);
    check_domain(&domain)?;
    check_path(&path)?;
    if domain.len() + 1 + path.len() > MAX_NAME {
        return Err("the name is longer than 255 characters");
    }
    let tag = match (tag, &digest) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, Some(_)) => None,
        (None, None) => Some("latest".to_owned()),
    };
    Ok(Reference {
        domain,
        path,
        tag,
        digest,
    })
}

/// Tells the registry from the repository as Docker does: the first component
/// is a registry if it has a dot or a colon, an upper-case letter, or is `localhost`.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if looks_like_domain(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        (domain.to_owned(), format!("{OFFICIAL}{path}"))
    } else {
        (domain.to_owned(), path.to_owned())
    }
}

fn looks_like_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = tag.as_bytes();
    match bytes.first() {
        None => return Err("the tag is empty"),
        Some(first) if !word(*first) => {
            return Err("a tag begins with a letter, digit or underscore");
        }
        Some(_) => {}
    }
    if bytes.len() > MAX_TAG {
        return Err("the tag is longer than 128 characters");
    }
    if bytes
        .iter()
        .all(|byte| word(*byte) || matches!(byte, b'.' | b'-'))
    {
        Ok(())
    } else {
        Err("a tag holds only letters, digits, underscores, dots and dashes")
    }
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let (address, port) = rest
            .split_once(']')
            .ok_or("the registry's address lacks its ]")?;
        if address.is_empty()
            || !address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        {
            return Err("the registry's IPv6 address is malformed");
        }
        let port = match port {
            "" => None,
            port => Some(
                port.strip_prefix(':')
                    .ok_or("the registry's port is malformed")?,
            ),
        };
        (None, port)
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        }
    };
    if let Some(port) = port
        && (port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err("the registry's port is malformed");
    }
    let Some(host) = host else { return Ok(()) };
    let component = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    if host.split('.').all(component) {
        Ok(())
    } else {
        Err("the registry's name is malformed")
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.split('/').all(is_path_component) {
        Ok(())
    } else if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Err("a repository's name is lower-case")
    } else {
        Err(
            "a repository's name holds lower-case letters and digits, with single dots, one or two underscores, or dashes between them",
        )
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = component.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| alphanumeric(**byte)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|byte| !alphanumeric(**byte)).count();
        match &rest[..separator] {
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|byte| *byte == b'-') => {}
            _ => return false,
        }
        rest = &rest[separator..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(text: &str) -> String {
        text.parse::<Reference>().unwrap().to_string()
    }

    #[test]
    fn names_are_normalised_as_docker_does() {
        assert_eq!(full("nginx"), "docker.io/library/nginx:latest");
        assert_eq!(full("nginx:1.25"), "docker.io/library/nginx:1.25");
        assert_eq!(full("me/app"), "docker.io/me/app:latest");
        assert_eq!(full("docker.io/nginx"), "docker.io/library/nginx:latest");
        assert_eq!(full("index.docker.io/me/app"), "docker.io/me/app:latest");
        assert_eq!(full("localhost/app"), "localhost/app:latest");
        assert_eq!(full("localhost:5000/a/b:c"), "localhost:5000/a/b:c");
        assert_eq!(full("ghcr.io/a/b__c.d---e"), "ghcr.io/a/b__c.d---e:latest");
        assert_eq!(full("[::1]:5000/app"), "[::1]:5000/app:latest");
        let digest = Digest::of(b"").to_string();
        assert_eq!(
            full(&format!("nginx@{digest}")),
            format!("docker.io/library/nginx@{digest}")
        );
        assert_eq!(
            full(&format!("nginx:1@{digest}")),
            format!("docker.io/library/nginx:1@{digest}")
        );
    }

    #[test]
    fn familiar_forms_are_short() {
        let familiar = |text: &str| text.parse::<Reference>().unwrap().familiar();
        assert_eq!(familiar("docker.io/library/nginx:latest"), "nginx:latest");
        assert_eq!(familiar("docker.io/me/app:1"), "me/app:1");
        assert_eq!(familiar("ghcr.io/me/app"), "ghcr.io/me/app:latest");
        assert_eq!(familiar("docker.io/library/a/b"), "library/a/b:latest");
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in [
            "",
            ":",
            "a:",
            "A",
            "a/B",
            "a//b",
            "/a",
            "a/",
            "a b",
            "a:b c",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "a@",
            "a@sha256:12",
            "a:.b",
            "localhost:/a",
            "localhost:x/a",
            "a.-b/c",
            "[::1/app",
            "[]/a",
            "../a",
            "a/../b",
            "ü",
            "a:ü",
            "a\0",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!("a".repeat(300).parse::<Reference>().is_err());
        assert!(
            format!("a:{}", "b".repeat(129))
                .parse::<Reference>()
                .is_err()
        );
        assert!("0".repeat(64).parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,80}") {
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn both_forms_read_back_the_same(
            text in "([a-zA-Z0-9.-]{1,12}(:[0-9]{1,5})?/)?[a-z0-9]{1,6}(([._]|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?(@sha256:[0-9a-f]{64})?"
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            }
        }
    }
}
