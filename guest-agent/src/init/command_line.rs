//! The kernel command line, as far as it speaks to init.

use std::path::PathBuf;

/// The words of the kernel command line that begin with `wherry.`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// The block device of the data disk.
    pub(super) data: PathBuf,
    /// Shared folders: the virtio-fs tag and where it goes.
    pub(super) shares: Vec<(String, PathBuf)>,
    /// The time at boot, nanoseconds since 1970.
    pub(super) time: Option<i64>,
    /// What `serve` logs, as in its `WHERRY_LOG`.
    pub(super) log: Option<String>,
    /// The host's networks, as in the `WHERRY_HOST_ROUTES` of `serve`.
    pub(super) host_routes: Option<String>,
}

impl CommandLine {
    /// Reads `/proc/cmdline`. What cannot be read counts as not given.
    pub(super) fn read() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut line = Self {
            data: PathBuf::from("/dev/vda"),
            shares: Vec::new(),
            time: None,
            log: None,
            host_routes: None,
        };
        for word in text.split_ascii_whitespace() {
            if let Some(value) = word.strip_prefix("wherry.data=") {
                line.data = PathBuf::from(value);
            } else if let Some(value) = word.strip_prefix("wherry.time=") {
                line.time = value.parse().ok();
            } else if let Some(value) = word.strip_prefix("wherry.log=") {
                line.log = Some(value.to_owned());
            } else if let Some(value) = word.strip_prefix("wherry.host_routes=") {
                line.host_routes = Some(value.to_owned());
            } else if let Some(value) = word.strip_prefix("wherry.shares=") {
                line.shares.extend(value.split(',').filter_map(share));
            }
        }
        line
    }
}

fn share(word: &str) -> Option<(String, PathBuf)> {
    use std::os::unix::ffi::OsStringExt;
    let (tag, path) = word.split_once(':')?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(percent_decode(path)));
    let climbs = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    (!tag.is_empty() && path.is_absolute() && !climbs).then(|| (tag.to_owned(), path))
}

/// Decodes `%41` to `A`; a `%` that begins no such triple stays as it is.
fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits
                .bytes()
                .all(|digit| digit.is_ascii_hexdigit())
                .then_some(digits)
        });
        match (
            bytes[at],
            digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_decoded() {
        let line = CommandLine::parse(
            "quiet panic=-1 wherry.shares=share0:/mnt/host/home/a%20b,share1:%2Fmnt%2Fhost%2Ftmp wherry.time=17 wherry.host_routes=10.8.0.0/16,192.168.1.0/24\n",
        );
        assert_eq!(line.data, PathBuf::from("/dev/vda"));
        assert_eq!(line.time, Some(17));
        assert_eq!(
            line.host_routes.as_deref(),
            Some("10.8.0.0/16,192.168.1.0/24")
        );
        assert_eq!(
            line.shares,
            [
                ("share0".to_owned(), PathBuf::from("/mnt/host/home/a b")),
                ("share1".to_owned(), PathBuf::from("/mnt/host/tmp")),
            ]
        );
    }

    #[test]
    fn shares_that_climb_or_are_relative_are_left_out() {
        let line = CommandLine::parse("wherry.shares=a:/mnt/../etc,b:relative,:/x,c");
        assert!(line.shares.is_empty());
    }

    proptest! {
        #[test]
        fn any_command_line_parses(text in "\\PC*") {
            CommandLine::parse(&text);
        }

        #[test]
        fn percent_decoding_undoes_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(percent_decode(&encoded), bytes);
        }
    }
}
