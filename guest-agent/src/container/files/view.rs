//! A container's file system as its processes see it, or would see it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tokio::sync::OwnedMutexGuard;

use crate::container::error::Error;
use crate::container::mount::{MountSource, open_bind_source};
use crate::container::record::{Record, Status};
use crate::container::root::make_directory;
use crate::container::{Container, Containers, blocking};

const NONE: Option<&str> = None;

/// An open root file system. A container that does not run cannot start as long
/// as its view is open.
pub(super) struct View {
    /// The root directory.
    pub(super) root: OwnedFd,
    /// The container's name, and the directory that is there as long as it is.
    container: (String, PathBuf),
    /// What is mounted only for this.
    _mounted: Option<Mounted>,
    _turn: Option<OwnedMutexGuard<()>>,
}

/// What a path of a container refers to.
pub(super) struct Located {
    /// Opened with `O_PATH`.
    pub(super) file: OwnedFd,
    pub(super) status: Stat,
}

impl Located {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.status.st_mode)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }
}

impl View {
    /// Finds what a path refers to, its links taken within the root. The last
    /// component's own link is followed with `follow`, or where the path says
    /// that a directory is meant.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPath`].
    pub(super) fn locate(
        &self,
        container: &str,
        path: &str,
        follow: bool,
    ) -> Result<Located, Error> {
        let missing = |error: Errno| match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL => {
                Error::NoSuchPath {
                    container: container.to_owned(),
                    path: path.to_owned(),
                }
            }
            error => Error::io(format!("opening {path} of container {container}"), error),
        };
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        let directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
        if !follow && !directory {
            flags |= OFlags::NOFOLLOW;
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { "/" } else { path };
        let file = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
            .map_err(missing)?;
        let status = rustix::fs::fstat(&file).map_err(missing)?;
        Ok(Located { file, status })
    }

    /// Tells whether all that was read until now was there: one that runs can be
    /// removed while it is read, its files from under the reader.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where it was removed.
    pub(super) fn still_there(&self) -> Result<(), Error> {
        let (name, directory) = &self.container;
        // A removal begins with the directory's rename.
        if directory.exists() {
            return Ok(());
        }
        Err(Error::State(format!(
            "container {name} was removed while its files were read: the archive is not whole"
        )))
    }
}

impl Containers {
    /// Opens a container's file system with what is mounted into it. The volumes
    /// of one that was never started are made, as its start would make them.
    ///
    /// # Errors
    ///
    /// Those of mounting it.
    pub(super) async fn view(self: &Arc<Self>, container: &Container) -> Result<View, Error> {
        let turn = container.turn.clone().lock_owned().await;
        let record = container.record();
        if container.phase.borrow().removed {
            return Err(Error::NotFound(record.name));
        }
        if record.state.status == Status::Running {
            // What the path means is settled here, for good.
            if let Ok(root) = open_root(Path::new(&format!("/proc/{}/root", record.state.pid))) {
                return Ok(View {
                    root,
                    container: (record.name, container.paths.directory.clone()),
                    _mounted: None,
                    _turn: None,
                });
            }
            return Err(Error::State(format!(
                "container {} has just ended: try again",
                record.name
            )));
        }
        self.mounted(record, &container.paths.directory, turn).await
    }

    /// Opens a container's root without what is mounted into it.
    ///
    /// # Errors
    ///
    /// Those of mounting it.
    pub(super) async fn root_view(self: &Arc<Self>, container: &Container) -> Result<View, Error> {
        let turn = container.turn.clone().lock_owned().await;
        let mut record = container.record();
        if container.phase.borrow().removed {
            return Err(Error::NotFound(record.name));
        }
        if record.state.status == Status::Running {
            return Ok(View {
                root: open_root(&container.paths.root())?,
                container: (record.name, container.paths.directory.clone()),
                _mounted: None,
                _turn: None,
            });
        }
        record.mounts.clear();
        self.mounted(record, &container.paths.directory, turn).await
    }

    async fn mounted(
        self: &Arc<Self>,
        record: Record,
        directory: &Path,
        turn: OwnedMutexGuard<()>,
    ) -> Result<View, Error> {
        let containers = self.clone();
        let directory = directory.to_owned();
        blocking(move || {
            let mounted = containers.mount_view(&record, &directory)?;
            Ok(View {
                root: open_root(&mounted.place)?,
                container: (record.name, directory),
                _mounted: Some(mounted),
                _turn: Some(turn),
            })
        })
        .await
    }

    fn mount_view(&self, record: &Record, directory: &Path) -> Result<Mounted, Error> {
        let place = self.places.run.join("views").join(&record.id);
        fs::create_dir_all(&place).map_err(|error| Error::path("making", &place, error))?;
        let mut overlay = self.images.prepare_root(&record.image_id, directory)?;
        overlay.volatile = false;
        overlay.mount(&place)?;
        let mounted = Mounted { place };
        for mount in &record.mounts {
            let source = match &mount.source {
                MountSource::Tmpfs | MountSource::EngineSocket { .. } => continue,
                MountSource::Bind { path, host } => {
                    match open_bind_source(&self.places.shares, path, host) {
                        Ok(source) => source,
                        // Gone on the host: what is below is seen.
                        Err(_) => continue,
                    }
                }
                MountSource::Volume { name, subpath, .. } => {
                    let turn = self.volumes.turn();
                    self.volumes.ensure(&turn, name, BTreeMap::new(), true)?;
                    drop(turn);
                    let is_plain = self.volumes.find(name)?.is_plain() && subpath.is_empty();
                    if !mount.no_copy && is_plain {
                        self.volumes
                            .fill(name, &mounted.place, &mount.target, true)?;
                    }
                    self.volumes
                        .open_source(&self.places.shares, name, subpath)?
                }
            };
            mounted.bind(&source, &mount.target, mount.read_only)?;
        }
        Ok(mounted)
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|error| Error::path("opening", path, error))
}

/// A root file system mounted for a moment.
struct Mounted {
    place: PathBuf,
}

impl Mounted {
    fn bind(&self, source: &OwnedFd, target: &str, read_only: bool) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::io(format!("mounting {target}"), error);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let root = rustix::fs::openat(CWD, &self.place, flags | OFlags::DIRECTORY, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        let open = || rustix::fs::openat2(&root, target, flags, Mode::empty(), resolve);
        let is_directory = rustix::fs::fstat(source)
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Directory);
        let place = match open() {
            Err(Errno::NOENT) if is_directory => {
                make_directory(&self.place, target).map_err(failed)?;
                open().map_err(|error| failed(error.into()))?
            }
            // The start makes it; until then nothing is there.
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|error| failed(error.into()))?,
        };
        let link = |file: &OwnedFd| format!("/proc/self/fd/{}", file.as_raw_fd());
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(
            Some(link(source).as_str()),
            link(&place).as_str(),
            NONE,
            bind,
            NONE,
        )
        .map_err(|error| failed(error.into()))?;
        if read_only {
            // The descriptor is of what lies below the mount.
            let place = open().map_err(|error| failed(error.into()))?;
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(NONE, link(&place).as_str(), NONE, flags, NONE)
                .map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        if let Err(error) = umount2(&self.place, flags) {
            tracing::warn!("cannot unmount {}: {error}", self.place.display());
            return;
        }
        // Never recursively: were the mount still there, its content would go.
        let _ = fs::remove_dir(&self.place);
    }
}
