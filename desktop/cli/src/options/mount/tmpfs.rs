//! `--tmpfs`, and the sizes and modes of such mounts.

use wherry_proto::v1::Mount;
use wherry_proto::v1::mount::Kind;

use super::target_path;

/// Parses the value of `--tmpfs`: `CONTAINER_PATH[:OPTIONS]`.
pub(crate) fn parse_tmpfs(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = Mount {
        kind: Kind::Tmpfs.into(),
        target: target_path(target)?,
        ..Mount::default()
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("ro", "") => mount.read_only = true,
            // The last three are how a tmpfs is mounted anyway.
            ("rw" | "noexec" | "nosuid" | "nodev", "") => {}
            ("size", size) => mount.tmpfs_size = tmpfs_size(size)?,
            ("mode", mode) => mount.tmpfs_mode = tmpfs_mode(mode)?,
            _ => return Err(format!("the option {option:?} of a tmpfs is not supported")),
        }
    }
    Ok(mount)
}

pub(super) fn tmpfs_size(text: &str) -> Result<u64, String> {
    wherry_client::size::parse(text).map_err(|error| error.to_string())
}

pub(super) fn tmpfs_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("{text:?} is no mode: write octal digits, such as 1777 or 700"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpfs_takes_its_path_and_refuses_options_by_name() {
        assert!(parse_tmpfs("/run:ro").unwrap().read_only);
        let mount = parse_tmpfs("/run:size=64m,mode=700").unwrap();
        assert_eq!((mount.tmpfs_size, mount.tmpfs_mode), (64 << 20, 0o700));
        for (text, words) in [
            ("/run:exec", "exec"),
            ("/run:size=many", "many"),
            ("/run:mode=888", "octal"),
            ("run", "absolute"),
        ] {
            let error = parse_tmpfs(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
