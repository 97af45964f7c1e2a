//! What a layer's tar stream was besides the content of its files: headers,
//! padding, whatever follows the end. With it and the unpacked files the stream
//! is made again byte for byte, so that a push or save gives the same diff id.
//! (The idea is that of Docker's tar-split.)
//!
//! A skeleton is a directory: `stream` is a zstd stream of [`Record`]s,
//! `length` the bytes of the tar, and below `moved` are the files that a later
//! entry of the same layer replaced.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

const STREAM: &str = "stream";
const LENGTH: &str = "length";
const MOVED: &str = "moved";
/// The first bytes of the stream, so that another form can be told apart.
const MAGIC: &[u8; 8] = b"skel\0\0\x00\x01";
/// Bytes of the tar in one record.
const MAX_RAW: usize = 64 * 1024;
/// As long as names are in a layer: the tar reader takes no longer one.
const MAX_PATH: usize = 1024 * 1024;
const MAX_EXTENTS: usize = 65_536;

/// A piece of the tar.
enum Record {
    /// These bytes.
    Raw(Vec<u8>),
    /// The content of a file, by stretches of it (offset and length).
    File(Vec<u8>, Vec<(u64, u64)>),
    /// Here what was at a path moved to `moved/NUMBER`.
    Moved(Vec<u8>),
}

const RAW: u8 = 0;
const FILE: u8 = 1;
const GONE: u8 = 2;

/// Hands a tar stream on and writes its skeleton.
pub(super) struct Recording<R> {
    source: R,
    writer: zstd::stream::write::Encoder<'static, File>,
    directory: PathBuf,
    raw: Vec<u8>,
    in_file: bool,
    length: u64,
    moved: usize,
    /// A write that failed inside of `consume`, which cannot tell.
    failed: Option<io::Error>,
}

impl<R: BufRead> Recording<R> {
    /// Begins a skeleton in a directory that is not there yet.
    pub(super) fn create(source: R, directory: &Path) -> io::Result<Self> {
        std::fs::create_dir(directory)?;
        let file = File::create_new(directory.join(STREAM))?;
        let mut writer = zstd::stream::write::Encoder::new(file, 1)?;
        writer.write_all(MAGIC)?;
        Ok(Recording {
            source,
            writer,
            directory: directory.to_owned(),
            raw: Vec::with_capacity(MAX_RAW),
            in_file: false,
            length: 0,
            moved: 0,
            failed: None,
        })
    }

    /// What comes next is the content of a file that is kept unpacked.
    pub(super) fn begin_file(&mut self, path: &[u8], extents: &[(u64, u64)]) -> io::Result<()> {
        self.flush_raw()?;
        self.writer.write_all(&[FILE])?;
        write_bytes(&mut self.writer, path)?;
        let count = u32::try_from(extents.len()).unwrap_or(u32::MAX);
        self.writer.write_all(&count.to_le_bytes())?;
        for (offset, length) in extents {
            self.writer.write_all(&offset.to_le_bytes())?;
            self.writer.write_all(&length.to_le_bytes())?;
        }
        self.in_file = true;
        Ok(())
    }

    pub(super) fn end_file(&mut self) {
        self.in_file = false;
    }

    /// Moves what is at a path, and is replaced now, out of the layer.
    pub(super) fn replaced(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> io::Result<()> {
        let moved = self.directory.join(MOVED);
        if self.moved == 0 {
            std::fs::create_dir(&moved)?;
        }
        let place = moved.join(self.moved.to_string());
        rustix::fs::renameat(parent, name, rustix::fs::CWD, &place)?;
        self.moved += 1;
        self.flush_raw()?;
        self.writer.write_all(&[GONE])?;
        write_bytes(&mut self.writer, path)
    }

    /// Reads what follows the archive's end, and completes the skeleton.
    pub(super) fn finish(mut self) -> io::Result<()> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.flush_raw()?;
        self.writer.finish()?;
        std::fs::write(self.directory.join(LENGTH), self.length.to_string())
    }

    fn flush_raw(&mut self) -> io::Result<()> {
        if !self.raw.is_empty() {
            self.writer.write_all(&[RAW])?;
            write_bytes(&mut self.writer, &self.raw)?;
            self.raw.clear();
        }
        Ok(())
    }
}

impl<R: BufRead> BufRead for Recording<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.source.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.length += amount as u64;
        if !self.in_file {
            // What is consumed was filled before, so nothing is read here.
            let mut left = amount;
            while left > 0 {
                let room = (MAX_RAW - self.raw.len()).min(left);
                match self.source.fill_buf() {
                    Ok(filled) => self.raw.extend_from_slice(&filled[amount - left..][..room]),
                    Err(error) => self.failed = Some(error),
                }
                left -= room;
                if self.raw.len() == MAX_RAW
                    && let Err(error) = self.flush_raw()
                {
                    self.failed = Some(error);
                }
            }
        }
        self.source.consume(amount);
    }
}

impl<R: BufRead> Read for Recording<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

fn write_bytes(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(bytes)
}

/// Returns the bytes of the tar that a skeleton is of.
pub(in crate::image) fn tar_length(skeleton: &Path) -> io::Result<u64> {
    let text = std::fs::read_to_string(skeleton.join(LENGTH))?;
    text.trim().parse().map_err(|_| damaged())
}

/// The tar of a layer, made again of its skeleton and its files.
pub(in crate::image) struct Assembly {
    records: Records,
    layer: OwnedFd,
    skeleton: PathBuf,
    /// What moved where, and how many files had come before that.
    moved: Vec<(Vec<u8>, usize)>,
    files: usize,
    raw: io::Cursor<Vec<u8>>,
    content: Option<Content>,
}

/// A file that is being read.
struct Content {
    file: File,
    extents: std::vec::IntoIter<(u64, u64)>,
    offset: u64,
    left: u64,
}

impl Assembly {
    /// Opens a layer's directory and its skeleton.
    pub(in crate::image) fn open(layer: &Path, skeleton: &Path) -> io::Result<Assembly> {
        let mut moved = Vec::new();
        if skeleton.join(MOVED).is_dir() {
            let mut files = 0;
            let mut records = Records::open(skeleton)?;
            while let Some(record) = records.next()? {
                match record {
                    Record::Raw(_) => {}
                    Record::File(..) => files += 1,
                    Record::Moved(path) => moved.push((path, files)),
                }
            }
        }
        Ok(Assembly {
            records: Records::open(skeleton)?,
            layer: directory(layer)?,
            skeleton: skeleton.to_owned(),
            moved,
            files: 0,
            raw: io::Cursor::default(),
            content: None,
        })
    }

    /// Opens a file where it is now.
    fn open_file(&self, path: &[u8]) -> io::Result<File> {
        for (number, (moved, files)) in self.moved.iter().enumerate() {
            let rest = path.strip_prefix(moved.as_slice());
            let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(b"/")) else {
                continue;
            };
            if self.files < *files {
                let place = [number.to_string().as_bytes(), rest].concat();
                let directory = directory(&self.skeleton.join(MOVED))?;
                return open_in(&directory, &place);
            }
        }
        open_in(&self.layer, path)
    }

    fn advance(&mut self) -> io::Result<bool> {
        match self.records.next()? {
            None => return Ok(false),
            Some(Record::Raw(bytes)) => self.raw = io::Cursor::new(bytes),
            Some(Record::Moved(_)) => {}
            Some(Record::File(path, extents)) => {
                self.content = Some(Content {
                    file: self.open_file(&path)?,
                    extents: extents.into_iter(),
                    offset: 0,
                    left: 0,
                });
                self.files += 1;
            }
        }
        Ok(true)
    }
}

impl Read for Assembly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.raw.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            if let Some(content) = &mut self.content {
                if let Some(length) = content.read(buffer)? {
                    return Ok(length);
                }
                self.content = None;
            }
            if !self.advance()? {
                return Ok(0);
            }
        }
    }
}

impl Content {
    /// Returns `None` at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        while self.left == 0 {
            match self.extents.next() {
                Some((offset, length)) => (self.offset, self.left) = (offset, length),
                None => return Ok(None),
            }
        }
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let length = rustix::io::pread(&self.file, &mut buffer[..wanted], self.offset)?;
        if length == 0 {
            return Err(damaged());
        }
        self.offset += length as u64;
        self.left -= length as u64;
        Ok(Some(length))
    }
}

/// The records of a skeleton, in their order.
struct Records(BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>);

impl Records {
    fn open(skeleton: &Path) -> io::Result<Records> {
        let decoder = zstd::stream::read::Decoder::new(File::open(skeleton.join(STREAM))?)?;
        let mut reader = BufReader::new(decoder);
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic)?;
        if magic == *MAGIC {
            Ok(Records(reader))
        } else {
            Err(damaged())
        }
    }

    fn next(&mut self) -> io::Result<Option<Record>> {
        let mut tag = [0];
        if self.0.read(&mut tag)? == 0 {
            return Ok(None);
        }
        Ok(Some(match tag[0] {
            RAW => Record::Raw(self.bytes(MAX_RAW)?),
            GONE => Record::Moved(self.bytes(MAX_PATH)?),
            FILE => {
                let path = self.bytes(MAX_PATH)?;
                let count = self.length(MAX_EXTENTS)?;
                let mut extents = Vec::new();
                for _ in 0..count {
                    extents.push((self.number()?, self.number()?));
                }
                Record::File(path, extents)
            }
            _ => return Err(damaged()),
        }))
    }

    fn bytes(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length(most)?];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn length(&mut self, most: usize) -> io::Result<usize> {
        let mut bytes = [0; 4];
        self.0.read_exact(&mut bytes)?;
        let length = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
        if length > most {
            return Err(damaged());
        }
        Ok(length)
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the layer's record is damaged")
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a file below a directory, by a path free of links.
fn open_in(directory: impl AsFd, path: &[u8]) -> io::Result<File> {
    // A device would be opened by its driver.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let confined = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(directory, path, flags, Mode::empty(), confined)?;
    let file = File::from(file);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(damaged())
    }
}
