//! Files with holes on their way into a container: tar's GNU form of sparse
//! files (GNU tar manual, "Old GNU Format"), which says where the content
//! belongs instead of sending the zeros.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use tar::{EntryType, GnuExtSparseHeader, Header};

/// A part of a file that has content: its offset and its length, bytes.
pub(super) type Extent = (u64, u64);

/// Turns a file's header into a sparse one's and returns what follows it: the
/// rest of the map, and then the content.
pub(super) fn entry(
    header: &mut Header,
    file: File,
    size: u64,
    extents: Vec<Extent>,
) -> impl Read + use<> {
    let stored = extents.iter().map(|(_, length)| length).sum();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(stored);
    let mut rest = extents.as_slice();
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.set_real_size(size);
        for place in &mut gnu.sparse {
            let Some(((offset, length), others)) = rest.split_first() else {
                break;
            };
            place.set_offset(*offset);
            place.set_length(*length);
            rest = others;
        }
        gnu.set_is_extended(!rest.is_empty());
    }
    let mut map = Vec::new();
    while !rest.is_empty() {
        let mut block = GnuExtSparseHeader::new();
        for place in &mut block.sparse {
            let Some(((offset, length), others)) = rest.split_first() else {
                break;
            };
            place.set_offset(*offset);
            place.set_length(*length);
            rest = others;
        }
        block.set_is_extended(!rest.is_empty());
        map.extend_from_slice(block.as_bytes());
    }
    Cursor::new(map).chain(Parts {
        file,
        left: extents.into_iter(),
        present: None,
    })
}

/// Reads the parts of a file one after another; zeros where it has shrunk.
struct Parts {
    file: File,
    left: std::vec::IntoIter<Extent>,
    present: Option<io::Take<io::Chain<File, io::Repeat>>>,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(part) = &mut self.present {
                let read = part.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
            }
            let Some((offset, length)) = self.left.next() else {
                return Ok(0);
            };
            self.file.seek(SeekFrom::Start(offset))?;
            let part = self.file.try_clone()?.chain(io::repeat(0)).take(length);
            self.present = Some(part);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::platform::extents;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn holes_stay_holes() {
        let folder = tempfile::tempdir().unwrap();
        // Some parts, and more than a header has room for.
        for parts in [0_u64, 1, 60] {
            let (size, step) = (64 << 20, 1 << 20);
            let path = folder.path().join("sparse");
            let mut file = File::create(&path).unwrap();
            for part in 0..parts {
                file.seek(SeekFrom::Start(part * step + 8192)).unwrap();
                file.write_all(format!("part {part}").as_bytes()).unwrap();
            }
            file.set_len(size).unwrap();
            let file = File::open(&path).unwrap();
            let found = extents(&file, size).unwrap().unwrap();
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            let content = entry(&mut header, file, size, found);
            tar.append_data(&mut header, "copy", content).unwrap();
            let tar = tar.into_inner().unwrap();
            assert!(tar.len() < 2 << 20, "{}", tar.len());
            super::super::local::unpack(&tar[..], folder.path(), false).unwrap();
            let copy = folder.path().join("copy");
            assert!(std::fs::read(&path).unwrap() == std::fs::read(&copy).unwrap());
            let status = std::fs::metadata(&copy).unwrap();
            assert!(status.blocks() * 512 < 2 << 20, "{}", status.blocks());
        }
    }
}
