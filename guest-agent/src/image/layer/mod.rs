//! Unpacking layers into overlayfs lower directories.
//!
//! [`TarReader`] parses the stream and trusts no size it claims, `root` finds
//! directories without leaving the layer, `extract` makes the entries,
//! `skeleton` records what it takes to make the stream again, and
//! `pipeline` runs decompression, hashing and unpacking side by side.

mod entry;
mod extents;
mod extract;
mod failure;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod metadata;
mod pack;
mod pax;
mod pipeline;
mod root;
mod skeleton;
mod source;
mod tar_reader;
mod whiteout;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

pub(crate) use extract::extract_at;
pub(crate) use pack::Packer;
pub(crate) use pipeline::unpacked;
pub(super) use pipeline::{Compression, Unpacked, unpack};
pub(super) use skeleton::{Assembly, tar_length};
pub(super) use tar_reader::{Kind, TarReader};

use super::{Digest, Error};

/// A layer in the temporary directory; gone again unless it is moved to its place.
#[derive(Debug)]
pub(super) struct UnpackedLayer {
    pub(super) diff_id: Digest,
    /// Bytes of the files in it.
    pub(super) size: u64,
    tree: tempfile::TempDir,
}

const TREE: &str = "layer";
const SKELETON: &str = "skeleton";

impl UnpackedLayer {
    /// Moves the layer and its skeleton to their places in the store. A layer
    /// that is there has its skeleton, whatever happens.
    pub(super) fn move_to(&self, place: &Path, skeleton: &Path) -> Result<(), Error> {
        let to = |part: &str, place: &Path| {
            std::fs::rename(self.tree.path().join(part), place)
                .map_err(|error| Error::path("placing the layer", place, error))
        };
        if !skeleton.exists() {
            to(SKELETON, skeleton)?;
        }
        to(TREE, place)
    }
}

/// Tells whether a stream that begins so is a tar: its first block is a header,
/// or zeros, as an empty layer's.
pub(super) fn looks_like_tar(start: &[u8]) -> bool {
    let block: Option<&[u8; 512]> = start.first_chunk();
    block.is_some_and(|block| block.iter().all(|byte| *byte == 0) || tar_reader::is_header(block))
}

/// Reads until the buffer is full or the stream ends; returns how much it read.
pub(super) fn read_full(source: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
