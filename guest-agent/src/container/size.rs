//! How much a container's own files take.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use wherry_proto::v1::ContainerSize;

use super::error::Error;
use super::{Container, Containers, blocking};

impl Containers {
    /// Returns the sizes of containers, without those that are gone.
    ///
    /// # Errors
    ///
    /// None so far but that of a task that panicked.
    pub(crate) async fn sizes(
        self: &Arc<Self>,
        wanted: &[String],
    ) -> Result<Vec<ContainerSize>, Error> {
        let found = wanted.iter().filter_map(|name| self.find(name).ok());
        let (found, containers) = (found.collect::<Vec<_>>(), self.clone());
        blocking(move || {
            let size = |container: &Arc<Container>| {
                let written = container.written();
                let image = containers.images.size_of(&container.record().image_id);
                ContainerSize {
                    container: container.id.clone(),
                    written,
                    root: written + image.unwrap_or(0),
                }
            };
            Ok(found.iter().map(size).collect())
        })
        .await
    }
}

impl Container {
    /// Returns what it has written into its root file system, bytes.
    pub(crate) fn written(&self) -> u64 {
        let mut seen = HashSet::new();
        length(&self.paths.directory.join("upper"), &mut seen)
    }
}

/// Adds up the lengths of the files below a directory, as Docker does for
/// `ps --size`: each file once, however many names it has. What goes away
/// meanwhile is not there.
fn length(directory: &Path, seen: &mut HashSet<u64>) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => length(&entry.path(), seen),
            Ok(metadata) if metadata.is_file() && seen.insert(metadata.ino()) => metadata.len(),
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_two_names_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("below")).unwrap();
        fs::write(directory.path().join("a"), "12345").unwrap();
        fs::hard_link(directory.path().join("a"), directory.path().join("below/b")).unwrap();
        fs::write(directory.path().join("below/c"), "1").unwrap();
        assert_eq!(length(directory.path(), &mut HashSet::new()), 6);
        assert_eq!(
            length(&directory.path().join("none"), &mut HashSet::new()),
            0
        );
    }
}
