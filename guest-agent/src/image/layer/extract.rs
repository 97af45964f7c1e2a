use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timestamps};
use rustix::io::Errno;

use super::failure::Failure;
use super::metadata::{apply_to_name, apply_to_open, times};
use super::root::{Refusal, Root, components, path_of, refuse, set_opaque};
use super::skeleton::Recording;
use super::source::{InPlace, Source};
use super::tar_reader::{Entry, Kind, TarReader};
use super::whiteout::{WHITEOUT, whiteout};
use crate::image::Error;
use crate::image::usage::layer_size;

/// Unpacks a whole tar stream into `directory`, which is empty; returns the
/// bytes of its files. What else the stream holds goes to `skeleton`. `layer`
/// names it in errors.
pub(super) fn extract(
    source: impl BufRead,
    directory: &Path,
    skeleton: &Path,
    layer: &str,
) -> Result<u64, Error> {
    let root = Root::open(directory).map_err(|error| Error::path("opening", directory, error))?;
    let source = Recording::create(source, skeleton)
        .map_err(|error| Error::path("creating", skeleton, error))?;
    let mut tar = TarReader::new(source);
    let mut extraction = Extraction::new(root, None);
    let broken = |error: io::Error| Error::InvalidArchive(format!("the layer {layer}: {error}"));
    while let Some(entry) = tar.next_entry().map_err(broken)? {
        extraction
            .entry(&mut tar, &entry)
            .map_err(|failure| failure.into_error(layer, &entry.path))?;
    }
    tar.into_source().finish().map_err(|error| {
        // Of the stream's own end, or of the disk: the kind tells.
        match Error::path("writing", skeleton, error) {
            Error::Io { source, .. } => broken(source),
            full => full,
        }
    })?;
    extraction
        .set_directory_times()
        .map_err(|error| Error::io(format!("unpacking the layer {layer}"), error))?;
    Ok(extraction.size)
}

/// Unpacks a whole tar stream into the directory `at` of a root file system that
/// is in use, whose symbolic links are taken within it. What is there stays or
/// is replaced; a directory never takes the place of anything else, nor anything
/// else that of a directory, unless `overwrite` allows it. Everything belongs to
/// `owner`, a user and a group, where one is given, and not to who the stream says.
///
/// # Errors
///
/// [`Error::InvalidArchive`], [`Error::Refused`], those of the file system. What
/// was unpacked until then stays.
pub(crate) fn extract_at(
    source: impl BufRead,
    root: OwnedFd,
    at: &[u8],
    overwrite: bool,
    owner: Option<(u32, u32)>,
) -> Result<(), Error> {
    let mut tar = TarReader::new(InPlace(source));
    let at = at
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty());
    let place = Place {
        at: at.map(<[u8]>::to_vec).collect(),
        overwrite,
    };
    let mut extraction = Extraction::new(Root::new(root), Some(place));
    let broken = |error: io::Error| Error::InvalidArchive(error.to_string());
    while let Some(mut entry) = tar.next_entry().map_err(broken)? {
        if let Some((uid, gid)) = owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        extraction.entry(&mut tar, &entry).map_err(|failure| {
            let entry = String::from_utf8_lossy(&entry.path).into_owned();
            match failure {
                Failure::Read(error) => broken(error),
                Failure::Refused(Refusal::Unsafe(reason)) => Error::Refused { entry, reason },
                Failure::Refused(Refusal::System(error)) => {
                    Error::io(format!("copying {entry:?}"), error)
                }
            }
        })?;
    }
    extraction
        .set_directory_times()
        .map_err(|error| Error::io("setting the times of directories", error))
}

struct Extraction {
    root: Root,
    /// What directories' times are to be in the end, by path.
    times: BTreeMap<Vec<u8>, Timestamps>,
    size: u64,
    /// Where the present entry really is.
    path: Vec<u8>,
    /// Where in a file system in use; `None` for a layer.
    place: Option<Place>,
}

/// A place in a file system in use.
struct Place {
    /// The directory, by components.
    at: Vec<Vec<u8>>,
    overwrite: bool,
}

impl Extraction {
    fn new(root: Root, place: Option<Place>) -> Self {
        Self {
            root,
            times: BTreeMap::new(),
            size: 0,
            path: Vec::new(),
            place,
        }
    }

    /// Returns a path of the archive as one below the root.
    fn components<'a>(&'a self, path: &'a [u8]) -> Result<Vec<&'a [u8]>, Refusal> {
        let at = self.place.iter().flat_map(|place| &place.at);
        let mut all: Vec<&[u8]> = at.map(Vec::as_slice).collect();
        all.extend(components(path)?);
        Ok(all)
    }

    /// Refuses to put an entry in the place of one of the other kind.
    fn may_replace(&self, directory_there: bool, directory_comes: bool) -> Result<(), Refusal> {
        let guarded = self.place.as_ref().is_some_and(|place| !place.overwrite);
        match (directory_there, directory_comes) {
            (true, false) if guarded => refuse("cannot overwrite directory with non-directory"),
            (false, true) if guarded => refuse("cannot overwrite non-directory with directory"),
            _ => Ok(()),
        }
    }

    fn entry<S: Source>(&mut self, tar: &mut TarReader<S>, entry: &Entry) -> Result<(), Failure> {
        if entry.kind == Kind::Other {
            return Ok(());
        }
        let components: Vec<Vec<u8>> = self
            .components(&entry.path)?
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect();
        let components: Vec<&[u8]> = components.iter().map(Vec::as_slice).collect();
        let depth = self.place.as_ref().map(|place| place.at.len());
        if depth == Some(components.len()) {
            // The directory that is copied into stays what it is.
            return Ok(());
        }
        let Some((name, parents)) = components.split_last() else {
            return self.root_entry(entry);
        };
        let parent = self.root.directory(parents)?;
        self.path = parent.path_of(name);
        if depth.is_none()
            && let Some(hidden) = name.strip_prefix(WHITEOUT)
        {
            return Ok(whiteout(&parent, name, hidden)?);
        }
        match entry.kind {
            Kind::Regular => self.file(tar, &parent, name, entry)?,
            Kind::Directory => {
                if self.make_directory(tar, &parent, name)? || depth.is_none() {
                    apply_to_name(&parent, name, entry)?;
                    self.times.insert(components.join(&b'/'), times(entry));
                }
            }
            Kind::HardLink => self.hard_link(tar, &parent, name, &entry.link)?,
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Ok(refuse("its target is empty or holds a zero byte")?);
                }
                self.replacing(tar, &parent, name, || {
                    rustix::fs::symlinkat(entry.link.as_slice(), &**parent, *name)
                })?;
                apply_to_name(&parent, name, entry)?;
            }
            Kind::Character | Kind::Block | Kind::Fifo => {
                let kind = match entry.kind {
                    Kind::Character => FileType::CharacterDevice,
                    Kind::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                let mode = Mode::from_raw_mode(entry.mode);
                self.replacing(tar, &parent, name, || {
                    rustix::fs::mknodat(&**parent, *name, kind, mode, device)
                })?;
                apply_to_name(&parent, name, entry)?;
            }
            Kind::Other => {}
        }
        Ok(())
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        if entry.kind != Kind::Directory {
            return Ok(refuse("it would replace the root directory")?);
        }
        apply_to_open(self.root.descriptor(), entry)?;
        self.times.insert(Vec::new(), times(entry));
        Ok(())
    }

    fn file<S: Source>(
        &mut self,
        tar: &mut TarReader<S>,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), Failure> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = self.replacing(tar, parent, name, || {
            rustix::fs::openat(parent, name, flags, mode)
        })?;
        let whole = [(0, entry.size)];
        let extents = match &entry.sparse {
            None if entry.size == 0 => &whole[..0],
            None => &whole[..],
            Some(sparse) => &sparse.extents,
        };
        if !extents.is_empty() {
            tar.source()
                .begin_file(&self.path, extents)
                .map_err(Failure::Read)?;
        }
        match &entry.sparse {
            None => copy(tar, &file, entry.size)?,
            Some(sparse) => {
                rustix::fs::ftruncate(&file, sparse.real_size)?;
                for (offset, length) in &sparse.extents {
                    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(*offset))?;
                    copy(tar, &file, *length)?;
                }
            }
        }
        tar.source().end_file();
        self.size += entry
            .sparse
            .as_ref()
            .map_or(entry.size, |sparse| sparse.real_size);
        apply_to_open(&file, entry)?;
        Ok(())
    }

    fn hard_link<S: Source>(
        &mut self,
        tar: &mut TarReader<S>,
        parent: &OwnedFd,
        name: &[u8],
        target: &[u8],
    ) -> Result<(), Refusal> {
        let target = match self.components(target) {
            Err(Refusal::Unsafe(reason)) => {
                return refuse(&format!("it is a hard link, and in its target {reason}"));
            }
            other => other?,
        };
        let target: Vec<Vec<u8>> = target.into_iter().map(<[u8]>::to_vec).collect();
        let target: Vec<&[u8]> = target.iter().map(Vec::as_slice).collect();
        let Some((target_name, target_parents)) = target.split_last() else {
            return refuse("it is a hard link to the root directory");
        };
        let from = self.root.directory(target_parents)?;
        let link = || rustix::fs::linkat(&**from, *target_name, parent, name, AtFlags::empty());
        match rustix::fs::statat(&**from, *target_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                return refuse("it is a hard link to a file that is not in its layer");
            }
            Err(error) => return Err(error.into()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return refuse("it is a hard link to a directory");
            }
            Ok(stat) => {
                let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
                if there
                    .is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino))
                {
                    return Ok(());
                }
            }
        }
        self.replacing(tar, parent, name, link)
    }

    /// Makes a directory, and tells whether it was not there.
    fn make_directory<S: Source>(
        &mut self,
        tar: &mut TarReader<S>,
        parent: &OwnedFd,
        name: &[u8],
    ) -> Result<bool, Refusal> {
        let make = || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
        match make() {
            Err(Errno::EXIST) => {}
            other => return Ok(other.map(|()| true)?),
        }
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(false),
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                self.replacing(tar, parent, name, make)?;
                set_opaque(parent, name)?;
            }
            _ => {
                self.may_replace(false, true)?;
                self.replacing(tar, parent, name, make)?;
            }
        }
        Ok(true)
    }

    /// Makes an entry; of two with one name the later stays.
    fn replacing<T, S: Source>(
        &mut self,
        tar: &mut TarReader<S>,
        parent: &OwnedFd,
        name: &[u8],
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Refusal> {
        match make() {
            Err(Errno::EXIST) => {}
            other => return Ok(other?),
        }
        self.root.forget();
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.may_replace(true, false)?;
        }
        self.size = self.size.saturating_sub(size_of(parent, name)?);
        match FileType::from_raw_mode(stat.st_mode) {
            // The layer's stream holds what was in them.
            FileType::RegularFile | FileType::Directory => tar
                .source()
                .replaced(parent, name, &self.path)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?,
            _ => rustix::fs::unlinkat(parent, name, AtFlags::empty())?,
        }
        Ok(make()?)
    }

    fn set_directory_times(&self) -> Result<(), Errno> {
        for (path, times) in &self.times {
            let set = match self.root.beneath(path) {
                Ok(directory) => rustix::fs::utimensat(&directory, ".", times, AtFlags::empty()),
                // Replaced later in the archive, or named through a link.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(error),
            };
            set?;
        }
        Ok(())
    }
}

/// Returns the bytes that the removal of an entry takes from its layer.
fn size_of(parent: &OwnedFd, name: &[u8]) -> Result<u64, Errno> {
    let status = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile if status.st_nlink < 2 => u64::try_from(status.st_size).unwrap_or(0),
        FileType::Directory => {
            let path = path_of(parent, name);
            let path = Path::new(std::ffi::OsStr::from_bytes(&path));
            layer_size(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?
        }
        _ => 0,
    })
}

fn copy<R: BufRead>(tar: &mut TarReader<R>, file: &OwnedFd, length: u64) -> Result<(), Failure> {
    let mut left = length;
    while left > 0 {
        let piece = tar.content().map_err(Failure::Read)?;
        let piece = &piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        if piece.is_empty() {
            return Err(Failure::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let written = match rustix::io::write(file, piece) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        tar.consume(written);
        left -= written as u64;
    }
    Ok(())
}
