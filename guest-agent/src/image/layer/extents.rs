//! Files with holes on their way into an archive.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

/// More of them than a reader takes make no sparse file.
const MOST: usize = 65_000;

/// Returns where a file has content, offsets and lengths in bytes; the last may be
/// empty and only say where the file ends. `None` for a file without holes worth
/// the name, or of more parts than readers take.
/// The file is read from its beginning afterwards.
pub(super) fn extents(file: impl AsFd, size: u64) -> io::Result<Option<VecDeque<(u64, u64)>>> {
    extents_up_to(MOST, file.as_fd(), size)
}

fn extents_up_to(
    most: usize,
    file: BorrowedFd<'_>,
    size: u64,
) -> io::Result<Option<VecDeque<(u64, u64)>>> {
    let (mut extents, mut position, mut stored) = (VecDeque::new(), 0, 0);
    while position < size && extents.len() < most {
        let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(None),
            found => found?,
        };
        if start >= size {
            break;
        }
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        extents.push_back((start, end - start));
        stored += end - start;
        position = end;
    }
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    if stored == size || extents.len() >= most {
        return Ok(None);
    }
    if extents
        .back()
        .is_none_or(|(offset, length)| offset + length < size)
    {
        extents.push_back((size, 0));
    }
    Ok(Some(extents))
}

/// Writes the map that comes before the content in the pax form 1.0 of sparse
/// files (GNU tar manual, "Storing Sparse Files").
pub(super) fn map(extents: &VecDeque<(u64, u64)>) -> Vec<u8> {
    let mut map = format!("{}\n", extents.len());
    for (offset, length) in extents {
        map += &format!("{offset}\n{length}\n");
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(512), 0);
    map
}

/// Turns a file's header into one of the old GNU form of sparse files, and
/// returns the rest of the map, which follows the header (GNU tar manual, "Old
/// GNU Format").
pub(super) fn gnu_map(header: &mut Header, extents: &VecDeque<(u64, u64)>, size: u64) -> Vec<u8> {
    header.set_entry_type(EntryType::GNUSparse);
    if let Some(ustar) = header.as_ustar_mut() {
        (ustar.magic, ustar.version) = (*b"ustar ", *b" \0");
    }
    let mut left = extents.iter();
    let mut fill = |places: &mut [GnuSparseHeader]| {
        for (place, (offset, length)) in places.iter_mut().zip(left.by_ref()) {
            place.set_offset(*offset);
            place.set_length(*length);
        }
        left.len() > 0
    };
    let mut more = false;
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.set_real_size(size);
        more = fill(&mut gnu.sparse);
        gnu.set_is_extended(more);
    }
    let mut map = Vec::new();
    while more {
        let mut block = GnuExtSparseHeader::new();
        more = fill(&mut block.sparse);
        block.set_is_extended(more);
        map.extend_from_slice(block.as_bytes());
    }
    map
}

/// Reads the parts of a file one after another; zeros where it has shrunk.
pub(super) struct Parts {
    pub(super) file: File,
    pub(super) left: VecDeque<(u64, u64)>,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some((offset, length)) = self.left.front_mut() {
            if *length == 0 {
                self.left.pop_front();
                continue;
            }
            let wanted = usize::try_from(*length).unwrap_or(usize::MAX);
            let room = buffer.len().min(wanted);
            if room == 0 {
                return Ok(0);
            }
            let read = match rustix::io::pread(&self.file, &mut buffer[..room], *offset)? {
                0 => {
                    buffer[..room].fill(0);
                    room
                }
                read => read,
            };
            *offset += read as u64;
            *length -= read as u64;
            return Ok(read);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_file_of_too_many_parts_is_read_whole() {
        const BLOCK: u64 = 1 << 16;
        let mut file = tempfile::tempfile().unwrap();
        for part in 0..3 {
            file.write_all_at(b"part", 2 * part * BLOCK).unwrap();
        }
        file.set_len(6 * BLOCK).unwrap();
        let found = extents_up_to(4, file.as_fd(), 6 * BLOCK).unwrap();
        if found.is_none() {
            eprintln!("skipped: the file system of temporary files knows no holes");
            return;
        }
        assert_eq!(extents_up_to(2, file.as_fd(), 6 * BLOCK).unwrap(), None);
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content.len() as u64, 6 * BLOCK);
        assert_eq!(&content[..4], b"part");
    }
}
