mod sparse;

use std::io::{self, BufRead, Read};
use std::ops::Range;

use tar::{EntryType, Header};

use super::pax::Pax;

pub(crate) use sparse::Sparse;

const BLOCK: usize = 512;
/// The longest extended header, long name or sparse map that is read, bytes.
/// A name has at most 4096, an attribute 64 KiB.
const MAX_EXTENSION: u64 = 1024 * 1024;

/// Reads a tar stream entry by entry: ustar, GNU and pax. Memory stays bounded
/// whatever sizes the stream claims, which the tar crate's own iterator does
/// not promise for long names; its `Header` decodes the fields.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    source: R,
    /// Bytes of the present entry's content that are still to come.
    remaining: u64,
    padding: u64,
    global: Pax,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Directory,
    Symlink,
    HardLink,
    Character,
    Block,
    Fifo,
    /// Volume labels and the like, which are no files.
    Other,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    /// Bytes of content in the stream.
    pub(crate) size: u64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: Option<Sparse>,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends too early")
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(source: R) -> Self {
        TarReader {
            source,
            remaining: 0,
            padding: 0,
            global: Pax::default(),
            ended: false,
        }
    }

    /// Goes to the next entry, past whatever of the present one was not read.
    pub(crate) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut pax = self.global.clone();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip_rest()?;
            if self.ended {
                return Ok(None);
            }
            let Some(header) = self.header()? else {
                self.ended = true;
                return Ok(None);
            };
            let size = size(&header)?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.extension(size)?;
                    pax.absorb(&records)
                        .ok_or_else(|| invalid("a pax header is malformed"))?;
                }
                EntryType::XGlobalHeader => {
                    let records = self.extension(size)?;
                    self.global
                        .absorb(&records)
                        .ok_or_else(|| invalid("a global pax header is malformed"))?;
                    // One archive could repeat them for ever.
                    self.global.xattrs.clear();
                    self.global.sparse_map = None;
                }
                EntryType::GNULongName => long_name = Some(self.terminated(size)?),
                EntryType::GNULongLink => long_link = Some(self.terminated(size)?),
                _ => return self.entry(&header, pax, long_name, long_link).map(Some),
            }
        }
    }

    /// Reads what follows the end marker, so that a packed stream's own checksum
    /// is checked and the sender is not cut off.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self.source, &mut io::sink())?;
        Ok(())
    }

    /// Returns what the archive is read from.
    pub(crate) fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// Returns what the archive is read from, for good.
    pub(crate) fn into_source(self) -> R {
        self.source
    }

    /// Returns the next piece of the present entry's content, empty at its end.
    pub(crate) fn content(&mut self) -> io::Result<&[u8]> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let limit = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let available = self.source.fill_buf()?;
        if available.is_empty() {
            return Err(truncated());
        }
        Ok(&available[..available.len().min(limit)])
    }

    /// Marks some of what `content` returned as read.
    pub(crate) fn consume(&mut self, amount: usize) {
        self.source.consume(amount);
        self.remaining -= amount as u64;
    }

    fn entry(
        &mut self,
        header: &Header,
        pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> io::Result<Entry> {
        let path = pax
            .path
            .or(long_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax
            .link
            .or(long_link)
            .or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let kind = match header.entry_type() {
            // Before ustar, a directory was a file whose name ends in a slash.
            EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::Regular,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::HardLink,
            EntryType::Char => Kind::Character,
            EntryType::Block => Kind::Block,
            EntryType::Fifo => Kind::Fifo,
            _ => Kind::Other,
        };
        // As Go's archive/tar: what is no file has no content, whatever the size says.
        let size = match kind {
            Kind::Regular | Kind::Other => pax.size.map_or_else(|| size(header), Ok)?,
            _ => 0,
        };
        self.begin(size)?;
        let sparse = if header.entry_type() == EntryType::GNUSparse {
            Some(self.gnu_sparse(header)?)
        } else if kind == Kind::Regular && (pax.sparse_major.is_some() || pax.sparse_map.is_some())
        {
            Some(self.pax_sparse(
                pax.sparse_major,
                pax.sparse_map.as_deref(),
                pax.sparse_real_size,
            )?)
        } else {
            None
        };
        if let Some(sparse) = &sparse {
            self.check_sparse(sparse)?;
        }
        let identity = |value: u64| {
            // The largest number means "no change" to chown.
            u32::try_from(value)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| invalid(format!("the owner {value} is out of range")))
        };
        Ok(Entry {
            path: pax.sparse_name.unwrap_or(path),
            link: link.unwrap_or_default(),
            kind,
            mode: numeric(header, MODE, Header::mode)? & 0o7777,
            uid: identity(
                pax.uid
                    .map_or_else(|| numeric(header, UID, Header::uid), Ok)?,
            )?,
            gid: identity(
                pax.gid
                    .map_or_else(|| numeric(header, GID, Header::gid), Ok)?,
            )?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => {
                    let mtime = numeric(header, MTIME, Header::mtime)?;
                    (i64::try_from(mtime).unwrap_or(i64::MAX), 0)
                }
            },
            device: match kind {
                Kind::Character | Kind::Block => (
                    numeric(header, DEVICE_MAJOR, Header::device_major)?.unwrap_or(0),
                    numeric(header, DEVICE_MINOR, Header::device_minor)?.unwrap_or(0),
                ),
                _ => (0, 0),
            },
            size: self.remaining,
            xattrs: pax.xattrs,
            sparse,
        })
    }

    fn begin(&mut self, size: u64) -> io::Result<()> {
        if size > i64::MAX as u64 {
            return Err(invalid(format!("an entry claims {size} bytes")));
        }
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        loop {
            let length = self.content()?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        while self.padding > 0 {
            let available = self.source.fill_buf()?.len();
            if available == 0 {
                return Err(truncated());
            }
            let amount = available.min(usize::try_from(self.padding).unwrap_or(BLOCK));
            self.source.consume(amount);
            self.padding -= amount as u64;
        }
        Ok(())
    }

    /// Reads a header; none at the end, be it marked by zeros or the stream's own.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut block = [0; BLOCK];
        match super::read_full(&mut self.source, &mut block)? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(truncated()),
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        if is_header(&block) {
            Ok(Some(header))
        } else {
            Err(invalid("a header's checksum is wrong"))
        }
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(invalid(format!("an extended header claims {size} bytes")));
        }
        self.begin(size)?;
        let mut bytes = Vec::new();
        loop {
            let piece = self.content()?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(piece);
            let length = piece.len();
            self.consume(length);
        }
    }

    fn terminated(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut name = self.extension(size)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }
}

impl<R: BufRead> Read for TarReader<R> {
    /// Reads the present entry's content.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.content()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// Where the numbers of a header are, in bytes (ustar, POSIX.1-1988).
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;

/// Reads a number of a header. One that is left blank, with spaces or zero
/// bytes, is 0, as for Go's archive/tar, by which Docker reads (`parseOctal`
/// in strconv.go).
fn numeric<T: Default>(
    header: &Header,
    place: Range<usize>,
    read: impl FnOnce(&Header) -> io::Result<T>,
) -> io::Result<T> {
    let blank = |byte: &u8| matches!(byte, 0 | b' ');
    if header.as_bytes()[place].iter().all(blank) {
        return Ok(T::default());
    }
    read(header)
}

fn size(header: &Header) -> io::Result<u64> {
    numeric(header, SIZE, Header::entry_size)
}

/// Tells whether a block is a tar header, by its checksum.
pub(crate) fn is_header(block: &[u8; BLOCK]) -> bool {
    let claimed = Header::from_byte_slice(block).cksum();
    let (before, after) = (&block[..148], &block[156..]);
    let sum: u32 = before
        .iter()
        .chain(after)
        .map(|byte| u32::from(*byte))
        .sum::<u32>()
        + 8 * u32::from(b' ');
    claimed.is_ok_and(|claimed| claimed == sum)
}
