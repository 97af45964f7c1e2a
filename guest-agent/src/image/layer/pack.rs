//! Packing files into tar, by descriptors, so that a tree that changes under
//! the packer never leads it elsewhere.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use tar::{Builder, EntryType};

use super::entry::{Entry, Exactly};
use super::extents::{Parts, extents, gnu_map, map};
use super::whiteout::{OPAQUE, WHITEOUT};

/// Directories deeper than this are refused: each takes a descriptor and some
/// of the stack.
const DEEPEST: usize = 256;

/// Which entries are left out: called with an entry's name in the archive.
pub(crate) type LeaveOut<'a> = &'a dyn Fn(&[u8], &OwnedFd) -> bool;

/// Writes a tar.
pub(crate) struct Packer<'a, W: Write> {
    tar: Builder<W>,
    /// Files with several names: where the first is in the archive.
    links: HashMap<(u64, u64), Vec<u8>>,
    overlay: bool,
    holes: Holes,
    leave_out: LeaveOut<'a>,
}

/// What becomes of the holes in files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holes {
    /// They are zeros: not everything that unpacks a tar knows of holes.
    Zeros,
    /// They stay, in the pax form 1.0 of sparse files.
    Pax,
    /// They stay, in the old GNU form, which the host's side of a copy reads.
    Gnu,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Packs files as they are.
    pub(crate) fn new(sink: W) -> Self {
        Self {
            tar: Builder::new(sink),
            links: HashMap::new(),
            overlay: false,
            holes: Holes::Zeros,
            leave_out: &|_, _| false,
        }
    }

    /// Keeps the holes of files for a reader that knows the old GNU form.
    pub(crate) fn with_holes(mut self, holes: bool) -> Self {
        if holes {
            self.holes = Holes::Gnu;
        }
        self
    }

    /// Packs an upper directory of overlayfs as a layer: what it says of the
    /// layers below becomes whiteouts (image-spec, layer.md, "Whiteouts").
    pub(crate) fn layer(sink: W, leave_out: LeaveOut<'a>) -> Self {
        Self {
            overlay: true,
            holes: Holes::Pax,
            leave_out,
            ..Self::new(sink)
        }
    }

    /// Packs what a descriptor, which may be one of `O_PATH`, refers to, and
    /// what is below it.
    ///
    /// # Errors
    ///
    /// Those of reading the files and of the sink.
    pub(crate) fn add(&mut self, file: &OwnedFd, name: &[u8]) -> io::Result<()> {
        self.entry(file, name, 0)
    }

    /// Packs what is in a directory, without the directory itself.
    ///
    /// # Errors
    ///
    /// Those of reading the files and of the sink.
    pub(crate) fn add_content(&mut self, directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
        self.content(directory, name, 0)
    }

    /// Writes the end of the archive and flushes the sink.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub(crate) fn finish(self) -> io::Result<W> {
        let mut sink = self.tar.into_inner()?;
        sink.flush()?;
        Ok(sink)
    }

    fn entry(&mut self, file: &OwnedFd, name: &[u8], depth: usize) -> io::Result<()> {
        let status = rustix::fs::fstat(file)?;
        let kind = FileType::from_raw_mode(status.st_mode);
        if self.overlay && kind == FileType::CharacterDevice && status.st_rdev == 0 {
            return self.whiteout(name);
        }
        let mut entry = Entry::new(&status, name);
        if kind != FileType::Directory && status.st_nlink > 1 {
            let identity = (status.st_dev, status.st_ino);
            if let Some(first) = self.links.get(&identity) {
                entry.header.set_entry_type(EntryType::Link);
                entry.link(&first.clone());
                return entry.write(&mut self.tar, 0, io::empty());
            }
            self.links.insert(identity, name.to_vec());
        }
        if kind != FileType::Symlink {
            entry.attributes(file, self.overlay)?;
        }
        match kind {
            FileType::Directory => {
                entry.header.set_entry_type(EntryType::Directory);
                entry.name.push(b'/');
                entry.write(&mut self.tar, 0, io::empty())?;
                return self.content(file, name, depth + 1);
            }
            FileType::RegularFile => {
                let file = File::from(open(file.as_fd(), OFlags::RDONLY)?);
                let size = u64::try_from(status.st_size).unwrap_or(0);
                if self.holes != Holes::Zeros
                    && u64::try_from(status.st_blocks).unwrap_or(0) * 512 < size
                    && let Some(extents) = extents(&file, size)?
                {
                    return self.sparse(entry, file, extents, size);
                }
                return entry.write(&mut self.tar, size, Exactly { file, left: size });
            }
            FileType::Symlink => {
                entry.header.set_entry_type(EntryType::Symlink);
                entry.link(rustix::fs::readlinkat(file, "", Vec::new())?.to_bytes());
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                entry.header.set_entry_type(match kind {
                    FileType::BlockDevice => EntryType::Block,
                    _ => EntryType::Char,
                });
                let device = status.st_rdev;
                entry.header.set_device_major(rustix::fs::major(device))?;
                entry.header.set_device_minor(rustix::fs::minor(device))?;
            }
            FileType::Fifo => entry.header.set_entry_type(EntryType::Fifo),
            // A socket means nothing without its program.
            _ => return Ok(()),
        }
        entry.write(&mut self.tar, 0, io::empty())
    }

    /// Packs a file's content without its holes (GNU tar manual, "Storing Sparse
    /// Files"): a map, and then what there is.
    fn sparse(
        &mut self,
        mut entry: Entry,
        file: File,
        extents: VecDeque<(u64, u64)>,
        size: u64,
    ) -> io::Result<()> {
        let stored: u64 = extents.iter().map(|(_, length)| length).sum();
        if self.holes == Holes::Gnu {
            let map = gnu_map(&mut entry.header, &extents, size);
            let parts = Parts {
                file,
                left: extents,
            };
            let content = io::Cursor::new(map).chain(parts);
            return entry.write(&mut self.tar, stored, content);
        }
        let map = map(&extents);
        let name = std::mem::replace(&mut entry.name, b"GNUSparseFile.0/file".to_vec());
        for (key, value) in [
            ("GNU.sparse.major", b"1".to_vec()),
            ("GNU.sparse.minor", b"0".to_vec()),
            ("GNU.sparse.name", name),
            ("GNU.sparse.realsize", size.to_string().into_bytes()),
        ] {
            entry.records.push((key.to_owned(), value));
        }
        let length = map.len() as u64 + stored;
        let parts = Parts {
            file,
            left: extents,
        };
        entry.write(&mut self.tar, length, io::Cursor::new(map).chain(parts))
    }

    fn content(&mut self, directory: &OwnedFd, name: &[u8], depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!(
                "directories are nested deeper than {DEEPEST}"
            )));
        }
        let directory = open(directory.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY)?;
        if self.overlay && is_opaque(&directory) {
            let name = join(name, OPAQUE);
            Entry::empty(&name).write(&mut self.tar, 0, io::empty())?;
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                names.push(name);
            }
        }
        // The same tree, the same archive.
        names.sort_unstable();
        for base in names {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match rustix::fs::openat(&directory, &*base, flags, Mode::empty()) {
                // Gone since.
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let name = join(name, &base);
            if !(self.leave_out)(&name, &file) {
                self.entry(&file, &name, depth)?;
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, name: &[u8]) -> io::Result<()> {
        let start = name
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |at| at + 1);
        let hidden = [&name[..start], WHITEOUT, &name[start..]].concat();
        Entry::empty(&hidden).write(&mut self.tar, 0, io::empty())
    }
}

/// Opens again, for reading, what a descriptor refers to.
fn open(file: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = flags | OFlags::CLOEXEC | OFlags::NOATIME;
    match rustix::fs::open(&path, flags, Mode::empty()) {
        // Not every file system lets us.
        Err(Errno::PERM) => Ok(rustix::fs::open(
            &path,
            flags - OFlags::NOATIME,
            Mode::empty(),
        )?),
        other => Ok(other?),
    }
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0_u8; 1];
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    rustix::fs::getxattr(path, "trusted.overlay.opaque", value.as_mut_slice())
        .is_ok_and(|length| length == 1 && value[0] == b'y')
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    }
}
