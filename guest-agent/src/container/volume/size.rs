//! How much the files in a directory hold.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the bytes of the files below a directory; one with several names
/// counts once. What cannot be read, or goes while it is looked at, counts
/// nothing.
pub(crate) fn directory_size(directory: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut pending = vec![directory.to_owned()];
    let mut size = 0;
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if metadata.nlink() < 2 || seen.insert((metadata.dev(), metadata.ino())) {
                size += metadata.len();
            }
        }
    }
    size
}
