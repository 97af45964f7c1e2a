use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::durable::create_private_directory;
use super::{Error, Store};

/// mount(2) takes one page of options, its final zero included.
const MAX_OPTIONS: usize = 4095;

/// A container's root file system: the image's layers below, a writable one above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OverlayMount {
    /// The lower directories, the topmost first, as overlayfs wants them.
    pub(crate) lower: Vec<PathBuf>,
    /// Where changes go.
    pub(crate) upper: PathBuf,
    /// Overlayfs's own work directory, beside `upper`.
    pub(crate) work: PathBuf,
    /// Nothing in it needs to survive a power cut: no call in it or about it
    /// waits for the disk (overlayfs.rst, "Volatile mount"). Such a root cannot
    /// be mounted a second time.
    #[serde(default)]
    pub(crate) volatile: bool,
}

impl Store {
    /// Makes the writable directories `upper` and `work` in `dir`, a directory
    /// on the store's file system, for a container of the image. Called again
    /// it keeps what is in them: a container's start after its stop is the same call.
    pub(crate) fn prepare_root(&self, image_id: &str, dir: &Path) -> Result<OverlayMount, Error> {
        let lower = {
            // A removed image's containers still start.
            let record = self
                .by_id(image_id)
                .ok_or_else(|| Error::NotFound(image_id.to_owned()))?;
            let mut lower: Vec<_> = record
                .layers
                .iter()
                .rev()
                .map(|layer| self.layer(&layer.diff_id))
                .collect();
            // The same empty layer may stand twice in an image; overlayfs
            // refuses a directory that is there already (ELOOP).
            let mut seen = std::collections::BTreeSet::new();
            lower.retain(|path| seen.insert(path.clone()));
            lower
        };
        let lower = if lower.is_empty() {
            vec![self.empty_layer()]
        } else {
            lower
        };
        let mount = OverlayMount {
            upper: dir.join("upper"),
            work: dir.join("work"),
            volatile: false,
            lower,
        };
        create_private_directory(dir)?;
        create_private_directory(&mount.work)?;
        if !mount.upper.exists() {
            mount.create_upper()?;
        }
        Ok(mount)
    }
}

impl OverlayMount {
    /// The root directory of the mount shows the upper directory's owner and
    /// mode, so they must be those of the image's own root.
    fn create_upper(&self) -> Result<(), Error> {
        let top = &self.lower[0];
        let root = fs::metadata(top).map_err(|error| Error::path("reading", top, error))?;
        let failed = |error| Error::path("creating", &self.upper, error);
        let half_made = self.upper.with_extension("new");
        if half_made.exists() {
            fs::remove_dir(&half_made).map_err(failed)?;
        }
        fs::create_dir(&half_made).map_err(failed)?;
        chown(&half_made, Some(root.uid()), Some(root.gid())).map_err(failed)?;
        fs::set_permissions(&half_made, fs::Permissions::from_mode(root.mode() & 0o7777))
            .map_err(failed)?;
        fs::rename(&half_made, &self.upper).map_err(failed)
    }

    /// Mounts it on `target`, a directory that exists.
    pub(crate) fn mount(&self, target: &Path) -> Result<(), Error> {
        let failed =
            |error: std::io::Error| Error::path("mounting the container's root on", target, error);
        let plain = self
            .options(|path| Ok(path.to_owned()))
            .ok()
            .filter(|options| options.len() <= MAX_OPTIONS);
        let special = |path: &Path| {
            path.as_os_str()
                .as_bytes()
                .iter()
                .any(|byte| b",:\\".contains(byte))
        };
        let paths = || self.lower.iter().chain([&self.upper, &self.work]);
        if let Some(options) = plain.filter(|_| !paths().any(|path| special(path))) {
            return mount_overlay(target, &options).map_err(failed);
        }
        // Many layers, or characters that would need escaping: name the
        // directories by descriptors, which are short whatever their paths.
        let mut open: Vec<OwnedFd> = Vec::new();
        let options = self.options(|path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(CWD, path, flags, Mode::empty())
                .map_err(|error| Error::path("opening", path, error))?;
            let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
            open.push(directory);
            Ok(name.into())
        })?;
        mount_overlay(target, &options).map_err(failed)
    }

    fn options(
        &self,
        mut name: impl FnMut(&Path) -> Result<PathBuf, Error>,
    ) -> Result<Vec<u8>, Error> {
        let mut options = b"lowerdir=".to_vec();
        for (index, lower) in self.lower.iter().enumerate() {
            if index > 0 {
                options.push(b':');
            }
            options.extend_from_slice(name(lower)?.as_os_str().as_bytes());
        }
        options.extend_from_slice(b",upperdir=");
        options.extend_from_slice(name(&self.upper)?.as_os_str().as_bytes());
        options.extend_from_slice(b",workdir=");
        options.extend_from_slice(name(&self.work)?.as_os_str().as_bytes());
        if self.volatile {
            options.extend_from_slice(b",volatile");
        }
        Ok(options)
    }
}

fn mount_overlay(target: &Path, options: &[u8]) -> std::io::Result<()> {
    use nix::mount::{MsFlags, mount};
    mount(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(options),
    )?;
    Ok(())
}

/// Unmounts a container's root. Where nothing is mounted, or a process still
/// holds it, it is taken out of sight and goes when the last user does.
pub(crate) fn unmount_root(target: &Path) -> Result<(), Error> {
    use nix::errno::Errno;
    use nix::mount::{MntFlags, umount2};
    let plain = MntFlags::UMOUNT_NOFOLLOW;
    match umount2(target, plain) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(Errno::EBUSY) => umount2(target, plain | MntFlags::MNT_DETACH)
            .map_err(|error| Error::path("unmounting", target, error)),
        Err(error) => Err(Error::path("unmounting", target, error)),
    }
}
