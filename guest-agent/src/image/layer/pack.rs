//! Packing files into tar, by descriptors, so that a tree that changes under
//! the packer never leads it elsewhere. What header fields cannot hold goes
//! into pax records (POSIX.1-2017, pax, "pax Extended Header").

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::extents::{Parts, extents, map};
use super::extract::{OPAQUE, WHITEOUT};

/// Directories deeper than this are refused: each takes a descriptor and some
/// of the stack.
const DEEPEST: usize = 256;
/// Bytes that a name and a link's target have in a header.
const NAME_FIELD: usize = 100;
/// The largest number of seconds or identifier that a header's octal digits
/// hold with room for old readers.
const OCTAL: u64 = 0o7_777_777;

/// Which entries are left out: called with an entry's name in the archive.
pub(crate) type LeaveOut<'a> = &'a dyn Fn(&[u8], &OwnedFd) -> bool;

/// Writes a tar.
pub(crate) struct Packer<'a, W: Write> {
    tar: Builder<W>,
    /// Files with several names: where the first is in the archive.
    links: HashMap<(u64, u64), Vec<u8>>,
    overlay: bool,
    leave_out: LeaveOut<'a>,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Packs files as they are.
    pub(crate) fn new(sink: W) -> Self {
        Self {
            tar: Builder::new(sink),
            links: HashMap::new(),
            overlay: false,
            leave_out: &|_, _| false,
        }
    }

    /// Packs an upper directory of overlayfs as a layer: what it says of the
    /// layers below becomes whiteouts (image-spec, layer.md, "Whiteouts").
    pub(crate) fn layer(sink: W, leave_out: LeaveOut<'a>) -> Self {
        Self {
            overlay: true,
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
                // Only in layers: not everything that unpacks a copy knows the form.
                if self.overlay
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

    /// Packs a file's content without its holes, in the pax form 1.0 (GNU tar
    /// manual, "Storing Sparse Files"): a map, and then what there is.
    fn sparse(
        &mut self,
        mut entry: Entry,
        file: File,
        extents: VecDeque<(u64, u64)>,
        size: u64,
    ) -> io::Result<()> {
        let map = map(&extents);
        let stored: u64 = extents.iter().map(|(_, length)| length).sum();
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

/// An entry before it is written.
struct Entry {
    header: Header,
    name: Vec<u8>,
    link: Vec<u8>,
    records: Vec<(String, Vec<u8>)>,
}

impl Entry {
    fn empty(name: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        Self {
            header,
            name: name.to_vec(),
            link: Vec::new(),
            records: Vec::new(),
        }
    }

    fn new(status: &Stat, name: &[u8]) -> Self {
        let mut entry = Self::empty(name);
        let header = &mut entry.header;
        header.set_mode(status.st_mode & 0o7777);
        header.set_uid(u64::from(status.st_uid).min(OCTAL));
        header.set_gid(u64::from(status.st_gid).min(OCTAL));
        header.set_mtime(u64::try_from(status.st_mtime).unwrap_or(0));
        let mut record = |key: &str, value: String| {
            entry.records.push((key.to_owned(), value.into_bytes()));
        };
        for (key, id) in [("uid", status.st_uid), ("gid", status.st_gid)] {
            if u64::from(id) > OCTAL {
                record(key, id.to_string());
            }
        }
        if status.st_mtime_nsec != 0 || status.st_mtime < 0 {
            record("mtime", time(status.st_mtime, status.st_mtime_nsec));
        }
        entry
    }

    fn link(&mut self, target: &[u8]) {
        self.link = target.to_vec();
    }

    fn attributes(&mut self, file: &OwnedFd, overlay: bool) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut names = vec![0_u8; 64 * 1024];
        let length = match rustix::fs::listxattr(&path, names.as_mut_slice()) {
            Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => return Ok(()),
            other => other?,
        };
        let mut names: Vec<_> = names[..length]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .collect();
        names.sort_unstable();
        for name in names {
            if overlay && name.starts_with(b"trusted.overlay.") {
                continue;
            }
            let mut value = vec![0_u8; 64 * 1024];
            match rustix::fs::getxattr(&path, name, value.as_mut_slice()) {
                Ok(length) => value.truncate(length),
                Err(Errno::NODATA) => continue,
                Err(error) => return Err(error.into()),
            }
            let key = format!("SCHILY.xattr.{}", String::from_utf8_lossy(name));
            self.records.push((key, value));
        }
        Ok(())
    }

    fn write<W: Write>(
        mut self,
        tar: &mut Builder<W>,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        self.header.set_size(size);
        let old = self.header.as_old_mut();
        let fields = [
            ("path", &self.name, &mut old.name),
            ("linkpath", &self.link, &mut old.linkname),
        ];
        for (key, value, field) in fields {
            let length = value.len().min(NAME_FIELD);
            field[..length].copy_from_slice(&value[..length]);
            if value.len() > NAME_FIELD {
                self.records.push((key.to_owned(), value.clone()));
            }
        }
        self.header.set_cksum();
        let records = self.records.iter();
        let mut records = records
            .map(|(key, value)| (key.as_str(), value.as_slice()))
            .peekable();
        if records.peek().is_some() {
            tar.append_pax_extensions(records)?;
        }
        tar.append(&self.header, content)
    }
}

/// A file's content, as long as its header says: a file that grew is cut, and
/// one that shrank is filled up with zeros.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let length = match self.file.read(&mut buffer[..room])? {
            0 => {
                buffer[..room].fill(0);
                room
            }
            length => length,
        };
        self.left -= length as u64;
        Ok(length)
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

/// Writes a time as pax does: decimal seconds.
fn time(seconds: i64, nanoseconds: impl TryInto<u32>) -> String {
    let nanoseconds = nanoseconds.try_into().unwrap_or(0);
    if seconds < 0 && nanoseconds > 0 {
        // Counted from the next second towards zero.
        let (seconds, nanoseconds) = (seconds + 1, 1_000_000_000 - nanoseconds);
        return format!("-{}.{nanoseconds:09}", seconds.unsigned_abs());
    }
    format!("{seconds}.{nanoseconds:09}")
}
