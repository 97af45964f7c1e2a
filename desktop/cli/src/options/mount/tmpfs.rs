//! `--tmpfs`, and the sizes and modes of such mounts.

use wherry_proto::v1::Mount;
use wherry_proto::v1::mount::Kind;

use super::target_path;

/// Parses the value of `--tmpfs`: `CONTAINER_PATH[:OPTIONS]`. The engine checks
/// the options.
pub(crate) fn parse_tmpfs(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    Ok(Mount {
        kind: Kind::Tmpfs.into(),
        target: target_path(target)?,
        tmpfs_options: options.to_owned(),
        ..Mount::default()
    })
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
    fn a_tmpfs_has_a_path_and_options() {
        let mount = parse_tmpfs("/run:size=64m,mode=700").unwrap();
        assert_eq!(
            (mount.target.as_str(), mount.tmpfs_options.as_str()),
            ("/run", "size=64m,mode=700")
        );
        assert_eq!(parse_tmpfs("/run").unwrap().tmpfs_options, "");
        assert!(parse_tmpfs("run").unwrap_err().contains("absolute"));
        assert!(tmpfs_mode("888").unwrap_err().contains("octal"));
        assert!(tmpfs_size("many").is_err());
    }
}
