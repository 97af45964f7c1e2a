//! Where the guest image lies.

use std::path::{Path, PathBuf};

/// The environment variable that names the guest image's folder.
pub const VARIABLE: &str = "WHERRY_GUEST";

/// The guest image: a kernel and the file system it starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestImage {
    /// The folder that holds them.
    pub folder: PathBuf,
}

impl GuestImage {
    /// Returns the kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("kernel")
    }

    /// Returns the initial RAM file system.
    #[must_use]
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs")
    }
}

/// Why there is no guest image.
#[derive(Debug, thiserror::Error)]
pub enum GuestImageError {
    /// `WHERRY_GUEST` names a folder without one.
    #[error("{VARIABLE} names {folder}, which holds no file named {missing}: build a guest image with `cargo xtask guest`", folder = folder.display())]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// What is not in it.
        missing: &'static str,
    },
    /// It is in none of the usual places.
    #[error(
        "no guest image in {places}: build one with `cargo xtask guest`, or name its folder in {VARIABLE}"
    )]
    NotFound {
        /// Where it was looked for.
        places: String,
    },
}

/// Finds the guest image: in the folder that `WHERRY_GUEST` names, else in
/// `guest/` beside the running program (so in `target/release/guest` for a
/// development build), else in `../share/wherry/guest` from there.
///
/// # Errors
///
/// [`GuestImageError`] that says where it looked and how to make one.
pub fn find_guest_image() -> Result<GuestImage, GuestImageError> {
    let program = std::env::current_exe().ok();
    let program = program.map(|path| path.canonicalize().unwrap_or(path));
    find_in(
        std::env::var_os(VARIABLE).map(PathBuf::from).as_deref(),
        program.as_deref().and_then(Path::parent),
    )
}

fn find_in(named: Option<&Path>, programs: Option<&Path>) -> Result<GuestImage, GuestImageError> {
    if let Some(folder) = named {
        return match missing(folder) {
            None => Ok(GuestImage {
                folder: folder.to_owned(),
            }),
            Some(missing) => Err(GuestImageError::Incomplete {
                folder: folder.to_owned(),
                missing,
            }),
        };
    }
    let mut places = Vec::new();
    if let Some(programs) = programs {
        places.push(programs.join("guest"));
        if let Some(prefix) = programs.parent() {
            places.push(prefix.join("share/wherry/guest"));
            // A test program lies in target/PROFILE/deps, and a debug build
            // shares the release build's guest.
            places.push(prefix.join("guest"));
            places.push(prefix.join("release/guest"));
        }
    }
    match places.iter().find(|folder| missing(folder).is_none()) {
        Some(folder) => Ok(GuestImage {
            folder: folder.clone(),
        }),
        None => Err(GuestImageError::NotFound {
            places: places
                .iter()
                .take(2)
                .map(|place| place.display().to_string())
                .collect::<Vec<_>>()
                .join(" or "),
        }),
    }
}

fn missing(folder: &Path) -> Option<&'static str> {
    ["kernel", "initramfs"]
        .into_iter()
        .find(|file| !folder.join(file).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("kernel"), "").unwrap();
        std::fs::write(folder.join("initramfs"), "").unwrap();
    }

    #[test]
    fn the_image_beside_the_program_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("bin");
        image(&folder.path().join("share/wherry/guest"));
        let found = find_in(None, Some(&programs)).unwrap();
        assert_eq!(found.folder, folder.path().join("share/wherry/guest"));
        image(&programs.join("guest"));
        let found = find_in(None, Some(&programs)).unwrap();
        assert_eq!(found.folder, programs.join("guest"));
    }

    #[test]
    fn a_named_folder_goes_before_all_others_and_must_be_complete() {
        let folder = tempfile::tempdir().unwrap();
        image(&folder.path().join("guest"));
        let named = folder.path().join("named");
        std::fs::create_dir(&named).unwrap();
        let error = find_in(Some(&named), Some(folder.path()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("kernel") && error.contains("cargo xtask guest"),
            "{error}"
        );
    }

    #[test]
    fn no_image_says_where_it_was_looked_for_and_how_to_make_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = find_in(None, Some(&folder.path().join("bin")))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("bin/guest") && error.contains("cargo xtask guest"),
            "{error}"
        );
    }
}
