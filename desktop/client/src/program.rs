//! Which program a process runs, and whether an upgrade has replaced it since.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The program's file as it was when its process began.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    found: Option<(SystemTime, u64)>,
}

impl Program {
    /// Looks at the program of the calling process, which should do so first of all.
    #[must_use]
    pub fn current() -> Self {
        Self::at(std::env::current_exe().unwrap_or_default())
    }

    fn at(path: PathBuf) -> Self {
        let found = stamp(&path);
        Self { path, found }
    }

    /// Tells whether its file is gone, or another one, since the process began.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.found.is_some() && stamp(&self.path) != self.found
    }
}

/// Returns what tells one file from another at the same path: when it was written, and
/// its length.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_replaced_when_its_file_is_another_one_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wherryd");
        std::fs::write(&path, "old").unwrap();
        let program = Program::at(path.clone());
        assert!(!program.is_replaced());
        // As an upgrade does, so that the old one runs on.
        let new = folder.path().join("new");
        std::fs::write(&new, "newer").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert!(program.is_replaced());
        assert!(!Program::at(path.clone()).is_replaced());
        std::fs::remove_file(&path).unwrap();
        assert!(program.is_replaced());
        // Nothing is said of what was never there.
        assert!(!Program::at(path).is_replaced());
    }
}
