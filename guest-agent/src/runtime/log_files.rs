//! The files of a container's log: the one that is written, and older ones
//! beside it, `log.json.1` the latest of them, named as Docker does.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How much of a container's output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogLimits {
    /// How many files a log has at most, 1 or more.
    pub(crate) files: u64,
    /// How long each may become, bytes.
    pub(crate) size: u64,
}

impl Default for LogLimits {
    /// What Docker's `local` driver keeps: a container that talks for ever does
    /// not fill the disk.
    fn default() -> Self {
        Self {
            files: 5,
            size: 20_000_000,
        }
    }
}

/// Returns the path of a log's file that was replaced `age` times.
pub(crate) fn log_file(log: &Path, age: u64) -> PathBuf {
    if age == 0 {
        return log.to_owned();
    }
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{age}"));
    PathBuf::from(name)
}
