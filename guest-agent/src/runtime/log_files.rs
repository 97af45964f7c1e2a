//! The files of a container's log: the one that is written, and older ones
//! beside it, `log.json.1` the latest of them, named as Docker does.

use std::path::{Path, PathBuf};

/// How many files a log has at most, and how long each may become, bytes: what
/// Docker's `local` driver keeps. A container that talks for ever does not
/// fill the disk.
pub(crate) const LOG_FILES: u64 = 5;
pub(super) const LOG_FILE_SIZE: u64 = 20_000_000;

/// Returns the path of a log's file that was replaced `age` times.
pub(crate) fn log_file(log: &Path, age: u64) -> PathBuf {
    if age == 0 {
        return log.to_owned();
    }
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{age}"));
    PathBuf::from(name)
}
