//! Platforms: choosing one of an index's manifests, as containerd's `platforms`
//! package does.

use super::oci::{Descriptor, Platform, our_platform};

impl Platform {
    /// Reads `linux/arm64/v8`, `linux/amd64`, `arm64` or `linux`.
    pub(crate) fn parse(text: &str) -> Result<Platform, String> {
        let wrong =
            || format!("invalid platform {text:?}: write OS/ARCHITECTURE, for example linux/arm64");
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(word) {
            return Err(wrong());
        }
        let ours = our_platform();
        let platform = |os: &str, architecture: &str, variant: Option<&str>| Platform {
            os: os.to_lowercase(),
            architecture: architecture.to_lowercase(),
            variant: variant.map(str::to_lowercase),
        };
        let platform = match parts.as_slice() {
            [os] if ["linux", "windows", "darwin", "freebsd"].contains(os) => {
                platform(os, &ours.architecture, None)
            }
            [architecture] => platform(&ours.os, architecture, None),
            [os, architecture] => platform(os, architecture, None),
            [os, architecture, variant] => platform(os, architecture, Some(variant)),
            _ => return Err(wrong()),
        };
        Ok(platform.normalised())
    }

    /// Returns the guest's own.
    pub(crate) fn ours() -> Platform {
        our_platform()
    }

    /// Tells whether what is made for `other` runs where this is wanted.
    pub(crate) fn fits(&self, other: &Platform) -> bool {
        self.rank(other).is_some()
    }

    /// How well something fits, the higher the better.
    fn rank(&self, other: &Platform) -> Option<u32> {
        let (wanted, other) = (self.clone().normalised(), other.clone().normalised());
        if wanted.os != other.os || wanted.architecture != other.architecture {
            return None;
        }
        let number = |variant: &Option<String>| -> Option<u32> {
            variant.as_deref()?.strip_prefix('v')?.parse().ok()
        };
        match (&wanted.variant, &other.variant) {
            (wanted, other) if wanted == other => Some(u32::MAX),
            (_, None) => Some(0),
            // Without a wish the plainest one does.
            (None, variant) => Some(u32::MAX / 2 - number(variant).unwrap_or(0).min(1000)),
            // A processor runs what is made for its predecessors.
            (wanted, variant) => {
                let (wanted, variant) = (number(wanted)?, number(variant)?);
                (variant < wanted).then_some(variant)
            }
        }
    }

    fn normalised(mut self) -> Platform {
        let (architecture, variant) = match (self.architecture.as_str(), self.variant.as_deref()) {
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", Some("8" | "v8") | None) => ("arm64", None),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("i386" | "i486" | "i686", _) => ("386", None),
            (architecture, variant) => (architecture, variant),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.map(str::to_owned));
        self.architecture = architecture;
        self.variant = variant.filter(|variant| !variant.is_empty());
        self
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Chooses the manifest that fits best, the first of equals. The error is what
/// there is instead.
pub(crate) fn choose<'a>(
    entries: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, String> {
    let mut best: Option<(u32, &Descriptor)> = None;
    for entry in entries {
        // Without a platform an entry is for every machine.
        let rank = match &entry.platform {
            None => Some(0),
            Some(platform) => wanted.rank(platform),
        };
        if let Some(rank) = rank
            && best.is_none_or(|(other, _)| rank > other)
        {
            best = Some((rank, entry));
        }
    }
    best.map(|(_, entry)| entry).ok_or_else(|| {
        let found: Vec<_> = entries
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            // Attestations stand in an index as unknown/unknown.
            .filter(|platform| platform.os != "unknown")
            .map(Platform::to_string)
            .collect();
        found.join(", ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: &str, entries: &[&str]) -> Result<String, String> {
        let entries: Vec<_> = entries
            .iter()
            .map(|platform| Descriptor {
                digest: (*platform).to_owned(),
                platform: Some(Platform::parse(platform).unwrap()),
                ..Descriptor::default()
            })
            .collect();
        choose(&entries, &Platform::parse(wanted).unwrap()).map(|entry| entry.digest.clone())
    }

    #[test]
    fn the_best_variant_is_chosen() {
        let arm = ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"];
        assert_eq!(chosen("linux/arm/v7", &arm).unwrap(), "linux/arm/v7");
        assert_eq!(chosen("linux/arm/v6", &arm).unwrap(), "linux/arm/v6");
        assert_eq!(chosen("linux/arm", &arm).unwrap(), "linux/arm/v7");
        assert_eq!(chosen("linux/arm/v6", &arm[..2]).unwrap(), "linux/arm/v5");
        let all = ["linux/amd64", "linux/arm64/v8", "windows/amd64"];
        assert_eq!(chosen("arm64", &all).unwrap(), "linux/arm64/v8");
        assert_eq!(chosen("linux/aarch64", &all).unwrap(), "linux/arm64/v8");
        assert_eq!(chosen("linux/x86_64", &all).unwrap(), "linux/amd64");
        assert_eq!(
            chosen("linux/s390x", &all).unwrap_err(),
            "linux/amd64, linux/arm64, windows/amd64"
        );
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for text in [
            "",
            "/",
            "linux/",
            "linux/a/b/c",
            "li nux/amd64",
            "linux/\u{fc}",
        ] {
            let error = Platform::parse(text).unwrap_err();
            assert!(error.contains("linux/arm64"), "{error}");
        }
    }
}
