use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

/// Directories open at once.
const CACHED: usize = 16;
/// As many symbolic links in one path as the kernel follows.
const MAX_LINKS: usize = 40;
/// Removing a tree takes a descriptor for each level.
const MAX_DEPTH: usize = 256;

/// Why an entry cannot be made.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The archive is to blame.
    Unsafe(String),
    /// The system call that failed.
    System(Errno),
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Refusal::System(error)
    }
}

pub(super) fn refuse<T>(reason: &str) -> Result<T, Refusal> {
    Err(Refusal::Unsafe(reason.to_owned()))
}

/// The directory a layer is unpacked into. Finds directories below it, and
/// never any other: the kernel resolves paths beneath it without following
/// links, and where a path of the archive passes through a link that the
/// archive made, the link is taken within the layer, component by component.
#[derive(Debug)]
pub(super) struct Root {
    descriptor: OwnedFd,
    /// The directories used last, latest at the end. Most entries lie beside
    /// the one before.
    cached: Vec<(Vec<u8>, Rc<Directory>)>,
}

/// A directory of the layer.
#[derive(Debug)]
pub(super) struct Directory {
    descriptor: OwnedFd,
    /// Where it really is, whatever links led to it.
    path: Vec<u8>,
}

impl Directory {
    /// Returns the real path of an entry of it.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() {
            name.to_vec()
        } else {
            [&self.path, b"/".as_slice(), name].concat()
        }
    }
}

impl std::ops::Deref for Directory {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        &self.descriptor
    }
}

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

impl Root {
    pub(super) fn open(path: &Path) -> Result<Root, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let descriptor = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Root::new(descriptor))
    }

    /// Takes an open directory.
    pub(super) fn new(descriptor: OwnedFd) -> Root {
        Root {
            descriptor,
            cached: Vec::new(),
        }
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Forgets open directories: call after anything was removed or replaced.
    pub(super) fn forget(&mut self) {
        self.cached.clear();
    }

    /// Opens a directory, making those of its parents that are not there.
    pub(super) fn directory(&mut self, components: &[&[u8]]) -> Result<Rc<Directory>, Refusal> {
        if components.len() > MAX_DEPTH {
            return refuse("its path is too deep");
        }
        let key = components.join(&b'/');
        if let Some(found) = self.cached.iter().rposition(|(cached, _)| *cached == key) {
            let last = self.cached.len() - 1;
            self.cached.swap(found, last);
            return Ok(Rc::clone(&self.cached[last].1));
        }
        let directory = match self.beneath(&key) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => self.walk(components)?,
            other => Directory {
                descriptor: other?,
                path: key.clone(),
            },
        };
        let directory = Rc::new(directory);
        if self.cached.len() == CACHED {
            self.cached.remove(0);
        }
        self.cached.push((key, Rc::clone(&directory)));
        Ok(directory)
    }

    /// Opens a directory that is there, by a path free of links.
    pub(super) fn beneath(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let confined =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.descriptor, path, DIRECTORY, Mode::empty(), confined)
    }

    fn walk(&self, components: &[&[u8]]) -> Result<Directory, Refusal> {
        let mut pending: VecDeque<Vec<u8>> = components
            .iter()
            .map(|component| component.to_vec())
            .collect();
        let mut resolved: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(component) = pending.pop_front() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if resolved.pop().is_none() {
                        return refuse(
                            "it lies behind a symbolic link that leads out of the layer",
                        );
                    }
                    continue;
                }
                _ => {}
            }
            if resolved.len() >= MAX_DEPTH {
                return refuse("its path is too deep");
            }
            let here = self.beneath(&resolved.join(&b'/'))?;
            let name = component.as_slice();
            match rustix::fs::statat(&here, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755))?,
                Err(error) => return Err(error.into()),
                Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => {}
                    FileType::Symlink => {
                        links += 1;
                        if links > MAX_LINKS {
                            return refuse("it lies behind too many symbolic links");
                        }
                        let target = rustix::fs::readlinkat(&here, name, Vec::new())?.into_bytes();
                        if target.starts_with(b"/") {
                            resolved.clear();
                        }
                        for part in target.split(|byte| *byte == b'/').rev() {
                            pending.push_front(part.to_vec());
                        }
                        continue;
                    }
                    FileType::CharacterDevice if stat.st_rdev == 0 => {
                        // Removed from the layers below and made anew in this one.
                        rustix::fs::unlinkat(&here, name, AtFlags::empty())?;
                        rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755))?;
                        set_opaque(&here, name)?;
                    }
                    _ => return refuse("what should be its directory is none"),
                },
            }
            resolved.push(component);
        }
        let path = resolved.join(&b'/');
        Ok(Directory {
            descriptor: self.beneath(&path)?,
            path,
        })
    }
}

/// Returns a path that names an entry of an open directory, for the calls that
/// take no descriptor. Its last component must not be followed.
pub(super) fn path_of(directory: &OwnedFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Hides the same directory of the layers below.
pub(super) fn set_opaque(directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let path = path_of(directory, if name.is_empty() { b"." } else { name });
    rustix::fs::lsetxattr(path, "trusted.overlay.opaque", b"y", XattrFlags::empty())
}

/// Splits an archive's path. A leading slash means the layer's own root, as in
/// Docker: some builders write their names so.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    if path.contains(&0) {
        return refuse("its name holds a zero byte");
    }
    let parts: Vec<_> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.iter().any(|part| *part == b"..") {
        return refuse("its name climbs out with ..");
    }
    Ok(parts)
}
