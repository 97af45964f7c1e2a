//! Files with holes on their way into an archive.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// More of them than a reader takes make no sparse file.
const MOST: usize = 65_536;

/// Returns where a file has content, offsets and lengths in bytes; the last may be
/// empty and only say where the file ends. `None` for a file without holes worth
/// the name, or of more parts than readers take.
pub(super) fn extents(file: impl AsFd, size: u64) -> io::Result<Option<VecDeque<(u64, u64)>>> {
    let file = file.as_fd();
    let (mut extents, mut position, mut stored) = (VecDeque::new(), 0, 0);
    while position < size {
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
        if extents.len() >= MOST {
            return Ok(None);
        }
    }
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    if stored == size {
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
