use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use super::extract::extract;
use super::{SKELETON, TREE, UnpackedLayer, read_full};
use crate::image::{Digest, Error};

const CHUNK: usize = 256 * 1024;
/// What unpacking xz may take: `xz -9` wants 65 MiB, and who packed it may want the
/// guest's all.
const XZ_MEMORY: u64 = 256 * 1024 * 1024;

/// Chunks under way between two threads.
const QUEUE: usize = 8;

/// How a stream is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// Tells it by the first bytes, whatever a media type claims.
    pub(crate) fn of(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            _ => Compression::None,
        }
    }

    /// Returns a reader of the unpacked stream.
    pub(crate) fn decoder<'a>(self, source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Compression::None => Box::new(source),
            Compression::Gzip => {
                let buffered = BufReader::with_capacity(CHUNK, source);
                Box::new(flate2::bufread::MultiGzDecoder::new(buffered))
            }
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(source)?),
            Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
            Compression::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    XZ_MEMORY,
                    liblzma::stream::CONCATENATED,
                );
                let stream = stream.map_err(io::Error::other)?;
                Box::new(liblzma::read::XzDecoder::new_stream(source, stream))
            }
        })
    }
}

/// Returns a reader of what a stream holds, packed or not.
///
/// # Errors
///
/// Those of reading its first bytes.
pub(crate) fn unpacked<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = [0; 6];
    let length = read_full(&mut source, &mut start)?;
    let compression = Compression::of(&start[..length]);
    let start = start[..length].to_vec();
    compression.decoder(Read::chain(io::Cursor::new(start), source))
}

/// A layer and what its stream was.
pub(crate) struct Unpacked {
    pub(crate) layer: UnpackedLayer,
    /// The digest of the stream as it came, compressed or not.
    pub(crate) digest: Digest,
    /// Its bytes.
    pub(crate) size: u64,
}

/// Reads a layer's stream to its end and unpacks it below `temporary`, hashing
/// it packed and unpacked. Each of the hashes and the unpacking has a thread.
pub(crate) fn unpack(
    source: &mut dyn Read,
    compression: Compression,
    temporary: &Path,
    name: &str,
) -> Result<Unpacked, Error> {
    let failed = |error| Error::path("unpacking in", temporary, error);
    let tree = tempfile::tempdir_in(temporary).map_err(failed)?;
    let directory = tree.path().join(TREE);
    create_root(&directory).map_err(failed)?;
    let (outcome, read) = scope(|scope| {
        let diff_hash = Hashing::start(scope);
        let (sender, receiver) = sync_channel(QUEUE);
        let (directory, skeleton) = (&directory, tree.path().join(SKELETON));
        let unpacking =
            scope.spawn(move || extract(Chunks::new(receiver), directory, &skeleton, name));
        let read = if compression == Compression::None {
            pump(source, &diff_hash, Some(sender)).map(|size| (None, size))
        } else {
            let hash = Hashing::start(scope);
            read_packed(source, compression, &hash, &diff_hash, sender)
                .map(|size| (Some(hash.finish()), size))
        };
        let diff_id = diff_hash.finish();
        (unpacking.join().map(|size| (size, diff_id)), read)
    });
    let Ok((unpacked, diff_id)) = outcome else {
        return Err(Error::InvalidArchive(format!(
            "the layer {name} could not be unpacked"
        )));
    };
    // A stream that broke off makes the unpacking fail too; what broke it says more.
    let (packed, size) = read.map_err(|error| {
        Error::InvalidArchive(format!("the layer {name} cannot be read: {error}"))
    })?;
    let bytes = unpacked?;
    Ok(Unpacked {
        layer: UnpackedLayer {
            diff_id,
            size: bytes,
            tree,
        },
        digest: packed.unwrap_or(diff_id),
        size,
    })
}

/// A layer that says nothing of its root directory has the usual one.
fn create_root(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))
}

fn read_packed(
    source: &mut dyn Read,
    compression: Compression,
    hash: &Hashing<'_>,
    diff_hash: &Hashing<'_>,
    sender: SyncSender<Bytes>,
) -> io::Result<u64> {
    let mut tee = Tee {
        source,
        hash,
        size: 0,
    };
    let mut decoder = compression.decoder(&mut tee)?;
    pump(&mut decoder, diff_hash, Some(sender))?;
    drop(decoder);
    // What follows the compressed stream belongs to the digest.
    io::copy(&mut tee, &mut io::sink())?;
    Ok(tee.size)
}

/// Reads a stream to its end, handing each piece to a hash and to the
/// unpacking; goes on to the end where the unpacking has failed.
fn pump(
    source: &mut dyn Read,
    hash: &Hashing<'_>,
    mut sender: Option<SyncSender<Bytes>>,
) -> io::Result<u64> {
    let mut total = 0;
    let mut used: VecDeque<Bytes> = VecDeque::new();
    loop {
        let reusable = match used.front() {
            Some(oldest) if used.len() > 2 * QUEUE && oldest.is_unique() => used.pop_front(),
            _ => None,
        };
        let mut buffer = match reusable.map(Bytes::try_into_mut) {
            Some(Ok(mut buffer)) => {
                buffer.resize(CHUNK, 0);
                buffer
            }
            _ => BytesMut::zeroed(CHUNK),
        };
        let length = read_full(source, &mut buffer)?;
        if length == 0 {
            return Ok(total);
        }
        total += length as u64;
        buffer.truncate(length);
        let chunk = buffer.freeze();
        hash.update(chunk.clone());
        if let Some(unpacking) = &sender
            && unpacking.send(chunk.clone()).is_err()
        {
            sender = None;
        }
        if used.len() <= 2 * QUEUE {
            used.push_back(chunk);
        }
    }
}

/// A SHA-256 on a thread of its own.
struct Hashing<'scope> {
    sender: SyncSender<Bytes>,
    thread: ScopedJoinHandle<'scope, Sha256>,
}

impl<'scope> Hashing<'scope> {
    fn start(scope: &'scope Scope<'scope, '_>) -> Self {
        let (sender, receiver) = sync_channel::<Bytes>(QUEUE);
        let thread = scope.spawn(move || {
            let mut hash = Sha256::new();
            receiver.iter().for_each(|chunk| hash.update(&chunk));
            hash
        });
        Hashing { sender, thread }
    }

    fn update(&self, chunk: Bytes) {
        // Hashing does not fail, so its receiver lives as long as the sender.
        let _ = self.sender.send(chunk);
    }

    fn finish(self) -> Digest {
        drop(self.sender);
        // Only a panic of the hash itself can be missing here; an empty hash
        // fits no digest, so nothing false is let in.
        Digest::finish(self.thread.join().unwrap_or_default())
    }
}

/// Hands what is read on to a hash.
struct Tee<'a, 'scope> {
    source: &'a mut dyn Read,
    hash: &'a Hashing<'scope>,
    size: u64,
}

impl Read for Tee<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        if length > 0 {
            self.hash.update(Bytes::copy_from_slice(&buffer[..length]));
            self.size += length as u64;
        }
        Ok(length)
    }
}

/// The reading end of a queue of chunks.
struct Chunks {
    receiver: Receiver<Bytes>,
    present: Bytes,
}

impl Chunks {
    fn new(receiver: Receiver<Bytes>) -> Self {
        Chunks {
            receiver,
            present: Bytes::new(),
        }
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.present.is_empty() {
            // A queue whose sender is gone is at its end.
            self.present = self.receiver.recv().unwrap_or_default();
        }
        Ok(&self.present)
    }

    fn consume(&mut self, amount: usize) {
        self.present.advance(amount);
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
            Compression::Bzip2 => {
                let mut writer = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Compression::Xz => {
                let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
        }
    }

    const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Zstd,
        Compression::Bzip2,
        Compression::Xz,
    ];

    #[test]
    fn what_is_packed_is_told_by_its_first_bytes() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for compression in ALL {
            let packed = packed(compression, &bytes);
            assert_eq!(Compression::of(&packed), compression);
            let mut read = Vec::new();
            let mut reader = unpacked(&packed[..]).unwrap();
            reader.read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{compression:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_too_short_is_an_error_or_itself() {
        let mut read = Vec::new();
        unpacked(&b"BZ"[..])
            .unwrap()
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, b"BZ");
        for compression in &ALL[1..] {
            let packed = packed(*compression, &[7; 10_000]);
            let cut = &packed[..packed.len() - 5];
            let read = unpacked(cut).and_then(|mut reader| reader.read_to_end(&mut Vec::new()));
            assert!(read.is_err(), "{compression:?}");
        }
    }
}
