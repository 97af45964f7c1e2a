//! Where the QEMU program is.

use std::path::{Path, PathBuf};

use crate::vm::VmError;

/// Folders that installers use and that need not be on `PATH`.
const PLACES: &[&str] = match std::env::consts::OS.as_bytes() {
    b"macos" => &["/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin"],
    b"windows" => &[r"C:\Program Files\qemu", r"C:\msys64\ucrt64\bin"],
    _ => &[
        "/usr/bin",
        "/usr/local/bin",
        "/usr/libexec",
        "/run/current-system/sw/bin",
    ],
};

/// What installs QEMU, said to someone who has a shell.
const PACKAGE: &str = match std::env::consts::OS.as_bytes() {
    b"macos" => "brew install qemu",
    b"windows" => "winget install SoftwareFreedomConservancy.QEMU",
    _ => {
        "the package qemu-system-x86 on Debian and Ubuntu, qemu-system-x86-core on Fedora, qemu-base on Arch"
    }
};

/// Finds the program: as the settings name it, on `PATH`, or where installers
/// put it.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, VmError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_in(named, std::env::split_paths(&path).collect())
}

fn find_in(named: Option<&Path>, mut folders: Vec<PathBuf>) -> Result<PathBuf, VmError> {
    let name = format!(
        "qemu-system-{}{}",
        std::env::consts::ARCH,
        std::env::consts::EXE_SUFFIX
    );
    if let Some(named) = named {
        // A bare name is looked for on PATH, as a shell would.
        let found = match named.components().count() {
            1 => folders
                .iter()
                .map(|folder| folder.join(named))
                .find(|path| is_program(path)),
            _ => Some(named.to_owned()).filter(|path| is_program(path)),
        };
        return found.ok_or_else(|| VmError::NotAProgram {
            path: named.to_owned(),
        });
    }
    folders.extend(PLACES.iter().map(PathBuf::from));
    folders
        .iter()
        .map(|folder| folder.join(&name))
        .find(|path| is_program(path))
        .ok_or_else(|| VmError::NoQemu {
            program: name,
            places: PLACES.join(", "),
            package: PACKAGE,
        })
}

fn is_program(path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else {
        return false;
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
    }
    #[cfg(not(unix))]
    metadata.is_file()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn program(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(path, "").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_program_of_the_settings_goes_before_the_one_on_path() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("my-qemu");
        program(&named, 0o755);
        let found = find_in(Some(&named), vec!["/usr/bin".into()]).unwrap();
        assert_eq!(found, named);
        let found = find_in(Some(Path::new("my-qemu")), vec![folder.path().into()]).unwrap();
        assert_eq!(found, named);
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("my-qemu");
        program(&named, 0o644);
        let error = find_in(Some(&named), Vec::new()).unwrap_err().to_string();
        assert!(
            error.contains("my-qemu") && error.contains("settings"),
            "{error}"
        );
    }
}
