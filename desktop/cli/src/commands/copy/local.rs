//! The host's side of a copy: files to tar and back.

use std::fs::{self, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Archive, Builder, Header};

use super::place::means_directory;
use super::{Split, sparse};
use crate::failure::Failure;
use crate::platform::extents;

/// What is copied into a container.
pub(super) struct Source {
    path: PathBuf,
    /// A symbolic link is followed.
    follow: bool,
    pub(super) is_directory: bool,
}

impl Source {
    pub(super) fn find(path: &Path, follow: bool) -> Result<Self, Failure> {
        let shown = path.display();
        let named_directory = means_directory(&path.as_os_str().to_string_lossy());
        let follow = follow || named_directory;
        let status = if follow {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        };
        let status =
            status.map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?;
        if named_directory && !status.is_dir() {
            return Err(Failure::new(format!("{shown} is not a directory")));
        }
        Ok(Self {
            path: path.to_owned(),
            follow,
            is_directory: status.is_dir(),
        })
    }

    /// What it is called: `..` and `.` by their directory.
    pub(super) fn name(&self) -> Result<String, Failure> {
        if let Some(name) = self.path.file_name() {
            return Ok(name.to_string_lossy().into_owned());
        }
        let shown = self.path.display();
        let whole = fs::canonicalize(&self.path)
            .map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?;
        // Only the root has no name; what is in it is meant.
        let name = whole.file_name();
        Ok(name.map_or_else(
            || ".".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        ))
    }

    /// Writes it as tar, its top entry called `name`; `.` is what is in it.
    pub(super) fn pack(&self, sink: impl Write, name: &Path, owners: bool) -> io::Result<()> {
        let mut packing = Packing {
            tar: Builder::new(sink),
            owners,
        };
        if name == Path::new(".") && self.is_directory {
            packing.content(&self.path, Path::new(""))?;
        } else {
            let status = if self.follow {
                fs::metadata(&self.path)
            } else {
                fs::symlink_metadata(&self.path)
            };
            packing.entry(&self.path, name, &at(&self.path, status)?)?;
        }
        packing.tar.into_inner()?.flush()
    }
}

struct Packing<W: Write> {
    tar: Builder<W>,
    owners: bool,
}

impl<W: Write> Packing<W> {
    fn entry(&mut self, path: &Path, name: &Path, status: &Metadata) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_metadata(status);
        if !self.owners {
            header.set_uid(0);
            header.set_gid(0);
        }
        if status.is_symlink() {
            header.set_size(0);
            let target = at(path, fs::read_link(path))?;
            return self.tar.append_link(&mut header, name, target);
        }
        if status.is_file() {
            let file = at(path, fs::File::open(path))?;
            if let Some(extents) = at(path, extents(&file, status.len()))? {
                let content = sparse::entry(&mut header, file, status.len(), extents);
                return at(path, self.tar.append_data(&mut header, name, content));
            }
            // As long as the header says, whatever happens to the file.
            let content = file.chain(io::repeat(0)).take(status.len());
            return at(path, self.tar.append_data(&mut header, name, content));
        }
        header.set_size(0);
        self.tar.append_data(&mut header, name, io::empty())?;
        match status.is_dir() {
            true => self.content(path, name),
            false => Ok(()),
        }
    }

    fn content(&mut self, directory: &Path, name: &Path) -> io::Result<()> {
        let mut entries = at(directory, fs::read_dir(directory))?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort_unstable();
        for entry in entries {
            let path = directory.join(&entry);
            let status = at(&path, fs::symlink_metadata(&path))?;
            self.entry(&path, &name.join(&entry), &status)?;
        }
        Ok(())
    }
}

/// Names the path in an error.
fn at<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Unpacks a tar into a folder, and leads nowhere out of it.
pub(super) fn unpack(tar: impl Read, folder: &Path, owners: bool) -> io::Result<()> {
    let mut archive = Archive::new(tar);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(owners);
    archive.unpack(folder).map_err(|error| {
        // The crate wraps the cause, which says more.
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        io::Error::new(error.kind(), text)
    })
}

/// Splits a path into its folder and its name there.
pub(super) fn split(path: &Path) -> Result<Split, Failure> {
    let name = path
        .file_name()
        .ok_or_else(|| Failure::new(format!("{} names no file", path.display())))?;
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok((folder, name.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(path: &Path, name: &str) -> Vec<u8> {
        let mut tar = Vec::new();
        let source = Source::find(path, false).unwrap();
        source.pack(&mut tar, Path::new(name), false).unwrap();
        tar
    }

    #[test]
    fn a_folder_comes_back_as_it_was_under_its_new_name() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("inner")).unwrap();
        fs::write(top.join("inner/file"), "text").unwrap();
        let tar = packed(&top, "new");
        let target = tempfile::tempdir().unwrap();
        unpack(&tar[..], target.path(), false).unwrap();
        let file = target.path().join("new/inner/file");
        assert_eq!(fs::read_to_string(file).unwrap(), "text");
        // Only what is in it.
        unpack(&packed(&top, ".")[..], target.path(), false).unwrap();
        assert!(target.path().join("inner/file").exists());
    }

    #[test]
    #[cfg(unix)]
    fn an_archive_does_not_lead_out_of_its_folder() {
        let mut tar = Builder::new(Vec::new());
        let outside = tempfile::tempdir().unwrap();
        let mut link = Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        tar.append_link(&mut link, "out", outside.path()).unwrap();
        let mut file = Header::new_gnu();
        file.set_size(1);
        file.set_mode(0o644);
        tar.append_data(&mut file, "out/file", &b"x"[..]).unwrap();
        let tar = tar.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let _ = unpack(&tar[..], folder.path(), false);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_path_is_split_into_folder_and_name() {
        assert_eq!(split(Path::new("a")).unwrap(), (".".into(), "a".to_owned()));
        assert_eq!(
            split(Path::new("b/a/")).unwrap(),
            ("b".into(), "a".to_owned())
        );
        assert!(split(Path::new("..")).is_err());
    }
}
