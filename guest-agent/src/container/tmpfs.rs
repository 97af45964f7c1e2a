//! The options of `--tmpfs PATH:OPTIONS`.

use super::error::Error;

/// Flags of a file system in memory (mount(8)), each with its opposite.
const FLAGS: [(&str, &str); 9] = [
    ("ro", "rw"),
    ("exec", "noexec"),
    ("suid", "nosuid"),
    ("dev", "nodev"),
    ("sync", "async"),
    ("atime", "noatime"),
    ("diratime", "nodiratime"),
    ("relatime", "norelatime"),
    ("strictatime", "nostrictatime"),
];

/// What of the options was meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TmpfsOptions {
    /// It cannot be written.
    pub(super) read_only: bool,
    /// The others, each once, for the mount.
    pub(super) others: Vec<String>,
}

/// Reads options apart by commas, of which the later count, as in Docker.
///
/// # Errors
///
/// [`Error::Invalid`] for the first that a tmpfs does not have.
pub(super) fn parse(text: &str) -> Result<TmpfsOptions, Error> {
    let mut options = TmpfsOptions::default();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let same: &[&str] = match option.split_once('=') {
            Some((key, value)) => {
                check(key, value).map_err(|right| wrong(option, right))?;
                &[key]
            }
            None if matches!(option, "defaults" | "dirsync") => &[option],
            None => {
                let pair = FLAGS
                    .iter()
                    .find(|(one, other)| [*one, *other].contains(&option));
                let (one, other) = pair.ok_or_else(|| {
                    wrong(
                        option,
                        "a tmpfs has size, mode, uid, gid, nr_inodes, nr_blocks, ro, exec, suid, dev and the like",
                    )
                })?;
                &[one, other]
            }
        };
        let key = |known: &String| known.split('=').next().unwrap_or_default().to_owned();
        options
            .others
            .retain(|known| !same.contains(&key(known).as_str()));
        match option {
            "ro" => options.read_only = true,
            "rw" => options.read_only = false,
            "defaults" => {}
            option => options.others.push(option.to_owned()),
        }
    }
    Ok(options)
}

/// Checks a value, and tells otherwise what would be right.
fn check(key: &str, value: &str) -> Result<(), &'static str> {
    let digits = |text: &str| {
        !text.is_empty() && text.len() < 19 && text.bytes().all(|b| b.is_ascii_digit())
    };
    let scaled = |text: &str| {
        digits(
            text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G'])
                .unwrap_or(text),
        )
    };
    let (right, sound) = match key {
        "size" => (
            "write bytes, such as 64m, or a part of the memory, such as 50%",
            scaled(value) || value.strip_suffix('%').is_some_and(digits),
        ),
        "nr_inodes" | "nr_blocks" => ("write a number, such as 10k", scaled(value)),
        "mode" => (
            "write octal digits, such as 1777 or 700",
            u32::from_str_radix(value, 8).is_ok_and(|mode| mode <= 0o7777),
        ),
        "uid" | "gid" => (
            "write a number",
            value.parse::<u32>().is_ok_and(|id| id != u32::MAX),
        ),
        "mpol" => ("the machine has no NUMA nodes to choose among", false),
        _ => (
            "a tmpfs has size, mode, uid, gid, nr_inodes and nr_blocks",
            false,
        ),
    };
    sound.then_some(()).ok_or(right)
}

fn wrong(option: &str, right: &str) -> Error {
    Error::Invalid(format!("Invalid tmpfs option {option:?}: {right}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_option_counts() {
        let options = parse("size=1m,noexec,ro,exec,size=64m,rw,uid=5").unwrap();
        assert!(!options.read_only);
        assert_eq!(options.others, ["exec", "size=64m", "uid=5"]);
        assert!(parse("ro").unwrap().read_only);
        assert_eq!(parse("defaults,").unwrap(), TmpfsOptions::default());
        for size in [
            "size=50%",
            "size=1G",
            "size=4096",
            "nr_inodes=10k",
            "mode=1777",
        ] {
            assert_eq!(parse(size).unwrap().others, [size]);
        }
    }

    #[test]
    fn what_a_tmpfs_does_not_have_is_refused_by_name() {
        for (text, words) in [
            ("shiny", "\"shiny\""),
            ("size=many", "64m"),
            ("size=-1", "64m"),
            ("size=", "64m"),
            ("mode=888", "octal"),
            ("uid=root", "number"),
            ("uid=4294967295", "number"),
            ("rbind", "a tmpfs has"),
            ("lowerdir=/", "a tmpfs has"),
            ("mpol=default", "NUMA"),
            ("exec=1", "a tmpfs has"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("Invalid tmpfs option") && error.contains(words),
                "{error}"
            );
        }
    }
}
