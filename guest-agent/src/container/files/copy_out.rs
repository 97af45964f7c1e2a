//! Files of a container as tar.

use std::io::Write;
use std::sync::Arc;

use rustix::fs::FileType;
use wherry_proto::v1;

use super::view::Located;
use crate::container::error::Error;
use crate::container::record::timestamp;
use crate::container::{Containers, blocking};
use crate::image::Packer;

impl Containers {
    /// Tells what a path of a container refers to; with `follow`, what its link
    /// leads to.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPath`].
    pub(crate) async fn stat_path(
        self: &Arc<Self>,
        reference: &str,
        path: &str,
        follow: bool,
    ) -> Result<v1::PathStatus, Error> {
        let container = self.find(reference)?;
        let view = self.view(&container).await?;
        let path = path.to_owned();
        blocking(move || {
            let located = view.locate(&container.name(), &path, follow)?;
            status(&located, &path)
        })
        .await
    }

    /// Packs what a path refers to, its top entry called `name`: by default as
    /// in the path. `.` packs a directory's content alone.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPath`], those of reading and of the sink.
    pub(crate) async fn copy_out(
        self: &Arc<Self>,
        request: v1::CopyOutStream,
        sink: impl Write + Send + 'static,
    ) -> Result<(), Error> {
        let container = self.find(&request.container)?;
        let view = self.view(&container).await?;
        blocking(move || {
            let path = &request.path;
            let located = view.locate(&container.name(), path, request.follow)?;
            let name = match request.name.as_str() {
                "" => base_name(path),
                name => name.to_owned(),
            };
            let failed = |error| Error::io(format!("copying {path}"), error);
            let mut packer = Packer::new(sink);
            if name == "." && located.is_directory() {
                packer.add_content(&located.file, b"").map_err(failed)?;
            } else {
                packer.add(&located.file, name.as_bytes()).map_err(failed)?;
            }
            view.still_there()?;
            packer.finish().map_err(failed)?;
            drop(view);
            Ok(())
        })
        .await
    }

    /// Packs the whole file system, without what is mounted into it.
    ///
    /// # Errors
    ///
    /// Those of reading and of the sink.
    pub(crate) async fn export(
        self: &Arc<Self>,
        reference: &str,
        sink: impl Write + Send + 'static,
    ) -> Result<(), Error> {
        let container = self.find(reference)?;
        let view = self.root_view(&container).await?;
        blocking(move || {
            let failed = |error| Error::io("exporting the container", error);
            let mut packer = Packer::new(sink);
            packer.add_content(&view.root, b"").map_err(failed)?;
            view.still_there()?;
            packer.finish().map_err(failed)?;
            drop(view);
            Ok(())
        })
        .await
    }
}

fn status(located: &Located, path: &str) -> Result<v1::PathStatus, Error> {
    let status = &located.status;
    let link = if located.kind() == FileType::Symlink {
        rustix::fs::readlinkat(&located.file, "", Vec::new())
            .map_err(|error| Error::io(format!("reading the link {path}"), error))?
            .to_string_lossy()
            .into_owned()
    } else {
        String::new()
    };
    let nanoseconds = status
        .st_mtime
        .saturating_mul(1_000_000_000)
        .saturating_add(status.st_mtime_nsec as i64);
    Ok(v1::PathStatus {
        name: base_name(path),
        size: u64::try_from(status.st_size).unwrap_or(0),
        mode: status.st_mode,
        modified: timestamp(nanoseconds),
        link_target: link,
        is_directory: located.is_directory(),
    })
}

/// Returns a path's last component; `/` has none, and is called `.`.
fn base_name(path: &str) -> String {
    let mut parts = path.rsplit('/').filter(|part| !matches!(*part, "" | "."));
    match parts.next() {
        None | Some("..") => ".".to_owned(),
        Some(name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paths_last_component_names_the_archives_top() {
        for (path, name) in [
            ("/etc/hosts", "hosts"),
            ("etc/", "etc"),
            ("/etc/.", "etc"),
            ("/", "."),
            ("", "."),
            ("/a/..", "."),
        ] {
            assert_eq!(base_name(path), name, "{path}");
        }
    }
}
