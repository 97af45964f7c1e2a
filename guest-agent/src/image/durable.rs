//! Writing so that a power cut leaves the old file or the new one.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::Error;

/// Replaces a file's content atomically: a temporary file in `temporary` (of
/// the same file system) is synced and renamed over it.
pub(super) fn replace_file(path: &Path, content: &[u8], temporary: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::path("writing", path, error);
    let mut file = tempfile::NamedTempFile::new_in(temporary).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_parent(path)
}

/// Makes a rename or creation in a file's directory durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), Error> {
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Makes renames, creations and removals in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::path("syncing", path, error))
}

/// Writes everything of the file system that holds `path` to its disk: one
/// call for a whole tree of files, where an fsync of each would take minutes.
pub(super) fn sync_file_system(path: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::path("syncing", path, error);
    let directory = File::open(path).map_err(failed)?;
    rustix::fs::syncfs(&directory).map_err(|error| failed(error.into()))
}

/// Creates a directory and its parents, for root alone.
pub(super) fn create_private_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::path("creating", path, error))
}
