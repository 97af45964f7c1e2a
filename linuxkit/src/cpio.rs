//! The initramfs archive: cpio's `newc` format
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Entries come out sorted, with inode numbers in order and no times, so that
//! the same content gives the same bytes.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// What lies at one path of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A folder.
    Directory,
    /// A regular file and its bytes.
    File(Vec<u8>),
    /// A symbolic link and its target.
    Symlink(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    content: Content,
    mode: u32,
    owner: u32,
    group: u32,
}

/// A tree of files to be written as one archive.
#[derive(Debug, Default, Clone)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Returns an archive without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one entry owned by root. `mode` holds the permission bits only.
    ///
    /// # Errors
    ///
    /// [`Error::Entry`] when the path is empty, has a `..` in it, or is taken.
    pub fn add(&mut self, path: &str, mode: u32, content: Content) -> Result<()> {
        self.add_owned(path, mode, 0, 0, content)
    }

    /// Adds one entry with an owner and a group.
    ///
    /// # Errors
    ///
    /// As [`Archive::add`].
    pub fn add_owned(
        &mut self,
        path: &str,
        mode: u32,
        owner: u32,
        group: u32,
        content: Content,
    ) -> Result<()> {
        let refused = |reason| Error::Entry {
            path: path.to_owned(),
            reason,
        };
        let parts: Vec<&str> = path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        let Some((_, parents)) = parts.split_last() else {
            return Err(refused("the path is empty"));
        };
        if parts.contains(&"..") {
            return Err(refused("the path has a `..` in it"));
        }
        if path.contains('\0') {
            return Err(refused("the path has a zero byte in it"));
        }
        for length in 1..=parents.len() {
            let parent = parts[..length].join("/");
            let entry = self.entries.entry(parent).or_insert(Entry {
                content: Content::Directory,
                mode: 0o755,
                owner: 0,
                group: 0,
            });
            if entry.content != Content::Directory {
                return Err(refused("a parent of it is not a directory"));
            }
        }
        let entry = Entry {
            content,
            mode: mode & 0o7777,
            owner,
            group,
        };
        let name = parts.join("/");
        match self.entries.get(&name) {
            // A directory made for a child first, or said twice, takes the last mode.
            Some(existing)
                if existing.content == Content::Directory
                    && entry.content == Content::Directory => {}
            Some(_) => return Err(refused("the path is taken by another entry")),
            None => {}
        }
        self.entries.insert(name, entry);
        Ok(())
    }

    /// Returns the archive's bytes, uncompressed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (name, entry)) in self.entries.iter().enumerate() {
            let (kind, data): (u32, &[u8]) = match &entry.content {
                Content::Directory => (DIRECTORY, &[]),
                Content::File(data) => (REGULAR, data),
                Content::Symlink(target) => (SYMLINK, target.as_bytes()),
            };
            let links = if kind == DIRECTORY { 2 } else { 1 };
            let header = Header {
                inode: number + 1,
                mode: kind | entry.mode,
                owner: entry.owner,
                group: entry.group,
                links,
            };
            header.write(&mut bytes, name, data);
        }
        let trailer = Header {
            inode: 0,
            mode: 0,
            owner: 0,
            group: 0,
            links: 1,
        };
        trailer.write(&mut bytes, "TRAILER!!!", &[]);
        bytes
    }
}

struct Header {
    inode: usize,
    mode: u32,
    owner: u32,
    group: u32,
    links: u32,
}

impl Header {
    fn write(&self, bytes: &mut Vec<u8>, name: &str, data: &[u8]) {
        let Self {
            inode,
            mode,
            owner,
            group,
            links,
        } = self;
        let (size, name_size) = (data.len(), name.len() + 1);
        let (time, zero) = (0, 0);
        // magic, inode, mode, owner, group, links, time, size, four device
        // numbers, length of the name with its zero byte, checksum (unused)
        let header = format!(
            "070701{inode:08x}{mode:08x}{owner:08x}{group:08x}{links:08x}{time:08x}{size:08x}\
             {zero:08x}{zero:08x}{zero:08x}{zero:08x}{name_size:08x}{zero:08x}"
        );
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        pad(bytes);
        bytes.extend_from_slice(data);
        pad(bytes);
    }
}

/// Header with name, and data, each end on a multiple of four bytes.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
#[path = "cpio_tests.rs"]
mod tests;
