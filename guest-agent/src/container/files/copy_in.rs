//! A tar unpacked into a container.

use std::io::{BufReader, Read};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use super::view::View;
use crate::container::error::Error;
use crate::container::record::Record;
use crate::container::{Containers, blocking};
use crate::image::{extract_at, resolve_user, unpacked};

/// Where an archive goes.
pub(crate) struct CopyInOptions {
    pub(crate) container: String,
    /// A directory of the container.
    pub(crate) path: String,
    /// A directory may take the place of a file, and the other way round.
    pub(crate) overwrite: bool,
    /// Everything belongs to the container's user.
    pub(crate) users_own: bool,
}

impl Containers {
    /// Unpacks a tar, itself packed or not, into a directory of a container.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPath`], [`Error::Invalid`] where the path is no directory,
    /// those of the archive and of the file system.
    pub(crate) async fn copy_in(
        self: &Arc<Self>,
        options: CopyInOptions,
        archive: impl Read + Send + 'static,
    ) -> Result<(), Error> {
        let container = self.find(&options.container)?;
        let view = self.view(&container).await?;
        blocking(move || {
            let name = container.name();
            let located = view.locate(&name, &options.path, true)?;
            if !located.is_directory() {
                return Err(Error::Invalid(format!(
                    "{} of container {name} is not a directory",
                    options.path
                )));
            }
            let failed = |error| Error::io(format!("opening {}", options.path), error);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = format!("/proc/self/fd/{}", view.root.as_raw_fd());
            let root = rustix::fs::openat(CWD, root, flags, Mode::empty()).map_err(failed)?;
            let owner = match options.users_own {
                true => Some(owner(&container.record(), &view)?),
                false => None,
            };
            let archive = unpacked(archive)
                .map_err(|error| Error::Invalid(format!("the archive cannot be read: {error}")))?;
            extract_at(
                BufReader::with_capacity(256 * 1024, archive),
                root,
                options.path.as_bytes(),
                options.overwrite,
                owner,
            )?;
            drop(view);
            Ok(())
        })
        .await
    }
}

/// Returns the numbers of a container's user and its group.
fn owner(record: &Record, view: &View) -> Result<(u32, u32), Error> {
    let user = match record.spec.user.as_str() {
        "" => &record.image_config.user,
        user => user,
    };
    let root = format!("/proc/self/fd/{}/", view.root.as_raw_fd());
    let user = resolve_user(Path::new(&root), user)?;
    Ok((user.uid, user.gid))
}
