//! Where an extraction's bytes come from, and who is told of what becomes of
//! them.

use std::ffi::OsStr;
use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::root::path_of;
use super::skeleton::Recording;

/// A stream of tar that is told what becomes of it.
pub(super) trait Source: BufRead {
    /// What comes next is the content of a file, by its stretches.
    fn begin_file(&mut self, path: &[u8], extents: &[(u64, u64)]) -> io::Result<()>;

    /// The content of the file was read.
    fn end_file(&mut self);

    /// Takes away a file or directory that is replaced now.
    fn replaced(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> io::Result<()>;
}

impl<R: BufRead> Source for Recording<R> {
    fn begin_file(&mut self, path: &[u8], extents: &[(u64, u64)]) -> io::Result<()> {
        Recording::begin_file(self, path, extents)
    }

    fn end_file(&mut self) {
        Recording::end_file(self);
    }

    fn replaced(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> io::Result<()> {
        Recording::replaced(self, parent, name, path)
    }
}

/// A tar of which nothing is kept but the files.
pub(super) struct InPlace<R>(pub(super) R);

impl<R: BufRead> Source for InPlace<R> {
    fn begin_file(&mut self, _: &[u8], _: &[(u64, u64)]) -> io::Result<()> {
        Ok(())
    }

    fn end_file(&mut self) {}

    fn replaced(&mut self, parent: &OwnedFd, name: &[u8], _: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                let path = path_of(parent, name);
                std::fs::remove_dir_all(Path::new(OsStr::from_bytes(&path)))
            }
            other => Ok(other?),
        }
    }
}

impl<R: BufRead> BufRead for InPlace<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

impl<R: BufRead> Read for InPlace<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}
