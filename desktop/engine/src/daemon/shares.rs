//! Host paths of bind mounts, checked and translated to where the guest sees
//! them.

use std::path::{Component, Path, PathBuf, Prefix};

use wherry_proto::HOST_MOUNT;

/// Why a host path cannot be mounted into a container.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ShareError {
    #[error("host path {path} does not exist: create it first, or check the spelling", path = path.display())]
    Missing { path: PathBuf },
    #[error("host path {path} must be absolute", path = path.display())]
    Relative { path: PathBuf },
    #[error("cannot use host path {path}: {reason}", path = path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error(
        "host path {path} is not shared with the machine, which has {shared}: add it to `shares` in {config} and run `wherry machine restart`",
        path = path.display(),
        config = config.display()
    )]
    NotShared {
        path: PathBuf,
        shared: String,
        config: PathBuf,
    },
    #[error("host path {path} is not valid UTF-8, so the guest cannot be told of it", path = path.display())]
    NotText { path: PathBuf },
}

/// Returns where the guest sees the host's `path`, links in it followed, if one
/// of `shares` holds it.
///
/// # Errors
///
/// [`ShareError`], which names the path and what to do.
pub(crate) fn guest_path(
    path: &Path,
    shares: &[PathBuf],
    config: &Path,
) -> Result<String, ShareError> {
    if !path.is_absolute() {
        return Err(ShareError::Relative {
            path: path.to_owned(),
        });
    }
    let real = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ShareError::Missing {
            path: path.to_owned(),
        },
        _ => ShareError::Unusable {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    })?;
    let shared = shares
        .iter()
        .filter_map(|share| share.canonicalize().ok())
        .any(|share| real.starts_with(share));
    if !shared {
        let names: Vec<String> = shares.iter().map(|s| s.display().to_string()).collect();
        return Err(ShareError::NotShared {
            path: path.to_owned(),
            shared: if names.is_empty() {
                "no shared folder".to_owned()
            } else {
                names.join(" and ")
            },
            config: config.to_owned(),
        });
    }
    below_host_mount(&real).ok_or(ShareError::NotText { path: real })
}

/// Returns the guest's name of a real host path: `/home/me` is
/// `/mnt/host/home/me`, `C:\Users\me` is `/mnt/host/c/Users/me`.
pub(crate) fn below_host_mount(real: &Path) -> Option<String> {
    let mut guest = HOST_MOUNT.to_owned();
    for component in real.components() {
        match component {
            Component::Prefix(prefix) => match prefix.kind() {
                Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => {
                    guest.push('/');
                    guest.push(char::from(letter.to_ascii_lowercase()));
                }
                _ => return None,
            },
            Component::Normal(name) => {
                guest.push('/');
                guest.push_str(name.to_str()?);
            }
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => return None,
        }
    }
    Some(guest)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn config() -> PathBuf {
        "/home/me/config.toml".into()
    }

    #[test]
    fn a_shared_path_has_one_place_in_the_guest() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("site")).unwrap();
        let guest = guest_path(&real.join("site"), std::slice::from_ref(&real), &config()).unwrap();
        assert_eq!(guest, format!("/mnt/host{}/site", real.display()));
    }

    #[test]
    fn a_path_outside_the_shares_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = guest_path(Path::new("/etc"), &[folder.path().into()], &config())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("host path /etc is not shared"), "{error}");
        assert!(error.contains("wherry machine restart"), "{error}");
    }

    #[test]
    fn a_link_that_leads_out_of_the_share_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("out");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let error = guest_path(&link, &[folder.path().into()], &config()).unwrap_err();
        assert!(matches!(error, ShareError::NotShared { .. }), "{error}");
    }

    #[test]
    fn a_sibling_whose_name_begins_alike_is_not_shared() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::create_dir(folder.path().join("ab")).unwrap();
        let error = guest_path(
            &folder.path().join("ab"),
            &[folder.path().join("a")],
            &config(),
        )
        .unwrap_err();
        assert!(matches!(error, ShareError::NotShared { .. }), "{error}");
    }

    #[test]
    fn a_missing_path_says_so() {
        let error = guest_path(Path::new("/nowhere/at/all"), &["/".into()], &config()).unwrap_err();
        assert!(matches!(error, ShareError::Missing { .. }), "{error}");
    }
}
