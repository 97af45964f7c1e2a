//! A tar unpacked into a container.

use std::io::{BufReader, Read};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use crate::container::error::Error;
use crate::container::{Containers, blocking};
use crate::image::extract_at;

/// Where an archive goes.
pub(crate) struct CopyInOptions {
    pub(crate) container: String,
    /// A directory of the container.
    pub(crate) path: String,
    /// A directory may take the place of a file, and the other way round.
    pub(crate) overwrite: bool,
}

impl Containers {
    /// Unpacks a tar into a directory of a container.
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
            let archive = BufReader::with_capacity(256 * 1024, archive);
            extract_at(archive, root, options.path.as_bytes(), options.overwrite)?;
            drop(view);
            Ok(())
        })
        .await
    }
}
