//! One entry of a tar: its header, and what the header's fields cannot hold, as
//! pax records (POSIX.1-2017, pax, "pax Extended Header").

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::Stat;
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

/// Bytes that a name and a link's target have in a header.
const NAME_FIELD: usize = 100;
/// The largest number of seconds or identifier that a header's octal digits
/// hold with room for old readers.
const OCTAL: u64 = 0o7_777_777;

/// An entry before it is written.
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) name: Vec<u8>,
    link: Vec<u8>,
    pub(super) records: Vec<(String, Vec<u8>)>,
}

impl Entry {
    pub(super) fn empty(name: &[u8]) -> Self {
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

    pub(super) fn new(status: &Stat, name: &[u8]) -> Self {
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

    pub(super) fn link(&mut self, target: &[u8]) {
        self.link = target.to_vec();
    }

    pub(super) fn attributes(&mut self, file: &OwnedFd, overlay: bool) -> io::Result<()> {
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

    pub(super) fn write<W: Write>(
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
pub(super) struct Exactly {
    pub(super) file: File,
    pub(super) left: u64,
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
