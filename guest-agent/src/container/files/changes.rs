//! What a container has changed in its image's files.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use wherry_proto::v1;
use wherry_proto::v1::file_change::Kind;

use crate::container::error::Error;
use crate::container::record::Record;
use crate::container::{Containers, blocking};

/// Directories deeper than this are refused: each takes descriptors.
const DEEPEST: usize = 256;

/// What the runtime makes in a root to mount on, beside the places of the
/// container's own mounts.
const MADE: [&str; 6] = [
    "dev",
    "proc",
    "sys",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
];

/// What a walk through the upper directory found.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) list: Vec<v1::FileChange>,
    /// What was made only to mount on, below the root.
    pub(super) made: BTreeSet<Vec<u8>>,
}

impl Containers {
    /// Returns what a container has added, changed and deleted.
    ///
    /// # Errors
    ///
    /// Those of reading its files.
    pub(crate) async fn changes(
        self: &Arc<Self>,
        reference: &str,
    ) -> Result<Vec<v1::FileChange>, Error> {
        let container = self.find(reference)?;
        let containers = self.clone();
        blocking(move || {
            let record = container.record();
            let directory = &container.paths.directory;
            let overlay = containers
                .images
                .prepare_root(&record.image_id, directory)?;
            Ok(walk(&record, &overlay.upper, &overlay.lower)?.list)
        })
        .await
    }
}

/// Walks through an upper directory of overlayfs, comparing with the lower ones,
/// of which the topmost is the first.
pub(super) fn walk(record: &Record, upper: &Path, lower: &[PathBuf]) -> Result<Changes, Error> {
    let open = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|error| Error::path("opening", path, error))
    };
    let lower = lower
        .iter()
        .map(|path| open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let targets = record.mounts.iter().map(|mount| mount.target.as_str());
    let made = targets.chain(MADE).map(|path| {
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.collect::<Vec<_>>().join("/").into_bytes()
    });
    let mut walk = Walk {
        mounted_on: made.collect(),
        changes: Changes::default(),
    };
    walk.directory(&open(upper)?, &lower, b"", 0)
        .map_err(|error| Error::path("reading", upper, error))?;
    Ok(walk.changes)
}

struct Walk {
    mounted_on: BTreeSet<Vec<u8>>,
    changes: Changes,
}

impl Walk {
    /// Tells whether all that is in the directory was made to mount on.
    fn directory(
        &mut self,
        upper: &OwnedFd,
        lower: &[OwnedFd],
        path: &[u8],
        depth: usize,
    ) -> std::io::Result<bool> {
        if depth > DEEPEST {
            return Err(std::io::Error::other("directories are nested too deeply"));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(upper)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable();
        let mut only_made = true;
        for name in names {
            let below_path = match path {
                b"" => name.clone(),
                path => [path, b"/", &name].concat(),
            };
            let Ok(status) = rustix::fs::statat(upper, &*name, AtFlags::SYMLINK_NOFOLLOW) else {
                // Gone since.
                continue;
            };
            let (there, below) = beneath(lower, &name)?;
            let made = match FileType::from_raw_mode(status.st_mode) {
                FileType::CharacterDevice if status.st_rdev == 0 => {
                    if there.is_some() {
                        self.note(&below_path, Kind::Deleted);
                    }
                    false
                }
                FileType::Directory => {
                    let below = match opaque(upper, &name) {
                        true => Vec::new(),
                        false => below,
                    };
                    self.subdirectory(
                        upper,
                        &name,
                        &status,
                        there.as_ref(),
                        &below,
                        &below_path,
                        depth,
                    )?
                }
                FileType::RegularFile
                    if there.is_none()
                        && status.st_size == 0
                        && self.mounted_on.contains(&below_path) =>
                {
                    self.changes.made.insert(below_path);
                    true
                }
                _ => {
                    let kind = match there {
                        Some(_) => Kind::Modified,
                        None => Kind::Added,
                    };
                    self.note(&below_path, kind);
                    false
                }
            };
            only_made &= made;
        }
        Ok(only_made)
    }

    #[allow(clippy::too_many_arguments, reason = "one step of the walk")]
    fn subdirectory(
        &mut self,
        upper: &OwnedFd,
        name: &[u8],
        status: &Stat,
        there: Option<&Stat>,
        below: &[OwnedFd],
        path: &[u8],
        depth: usize,
    ) -> std::io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(upper, name, flags, Mode::empty())?;
        let at = self.changes.list.len();
        let only_made = self.directory(&directory, below, path, depth + 1)?;
        let same = there.is_some_and(|there| {
            (there.st_mode, there.st_uid, there.st_gid)
                == (status.st_mode, status.st_uid, status.st_gid)
        });
        if same && self.changes.list.len() == at {
            return Ok(only_made);
        }
        let on_the_way = || {
            let slash = [path, b"/"].concat();
            self.mounted_on.contains(path)
                || self
                    .mounted_on
                    .iter()
                    .any(|place| place.starts_with(&slash))
        };
        if there.is_none() && only_made && on_the_way() {
            self.changes.made.insert(path.to_vec());
            return Ok(true);
        }
        let kind = match there {
            Some(_) => Kind::Modified,
            None => Kind::Added,
        };
        // Before what is in it.
        self.changes.list.insert(at, change(path, kind));
        Ok(false)
    }

    fn note(&mut self, path: &[u8], kind: Kind) {
        self.changes.list.push(change(path, kind));
    }
}

fn change(path: &[u8], kind: Kind) -> v1::FileChange {
    v1::FileChange {
        path: format!("/{}", String::from_utf8_lossy(path)),
        kind: kind.into(),
    }
}

/// Finds a name in the lower directories: what it is there, and the
/// directories that show through under it.
fn beneath(lower: &[OwnedFd], name: &[u8]) -> std::io::Result<(Option<Stat>, Vec<OwnedFd>)> {
    let mut found = None;
    let mut directories = Vec::new();
    for layer in lower {
        let status = match rustix::fs::statat(layer, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        match FileType::from_raw_mode(status.st_mode) {
            FileType::CharacterDevice if status.st_rdev == 0 => break,
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                directories.push(rustix::fs::openat(layer, name, flags, Mode::empty())?);
                found.get_or_insert(status);
                if opaque(layer, name) {
                    break;
                }
            }
            _ => {
                found.get_or_insert(status);
                break;
            }
        }
    }
    Ok((found, directories))
}

/// Tells whether a directory of a layer hides those of the layers below.
fn opaque(layer: &OwnedFd, name: &[u8]) -> bool {
    use std::os::fd::AsRawFd;
    let mut path = format!("/proc/self/fd/{}/", layer.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut value = [0_u8; 1];
    rustix::fs::lgetxattr(path, "trusted.overlay.opaque", value.as_mut_slice())
        .is_ok_and(|length| length == 1 && value[0] == b'y')
}
