//! Where the kernel's source comes from: `WHERRY_KERNEL_SOURCE` (a folder or a
//! tar archive), else Debian's source package, kept once downloaded.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::apt;
use crate::Progress;
use crate::cache::{lock, sha256_of_parts, write};
use crate::command::{program, run};
use crate::error::{Error, OnPath, Result};

/// A kernel's source, not yet unpacked.
#[derive(Debug)]
pub(crate) struct Source {
    form: Form,
    /// What tells this source from any other: a hash of the archive, or of the
    /// folder's path and version.
    pub(crate) identity: String,
    /// How people know it: the package's file name, or the path.
    pub(crate) name: String,
}

#[derive(Debug)]
enum Form {
    Package(PathBuf),
    Archive(PathBuf),
    Directory(PathBuf),
}

/// A source ready to be compiled.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The folder with the kernel's top Makefile.
    pub(crate) path: PathBuf,
    /// Whether it is the user's and must not be written into.
    pub(crate) foreign: bool,
}

impl Source {
    /// Finds the source of `image`, `debian-linux-<version>`, and downloads it
    /// when it is not in `cache` yet. A package already in the cache is used as
    /// it is: delete it to have a newer one fetched.
    pub(crate) fn find(
        image: &str,
        given: Option<&OsStr>,
        cache: &Path,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if let Some(given) = given.filter(|given| !given.is_empty()) {
            return Self::from_path(Path::new(given));
        }
        let version = image
            .strip_prefix("debian-linux-")
            .filter(|version| {
                !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.')
            })
            .ok_or_else(|| {
                Error::KernelSource(format!(
                    "kernel.image `{image}` is not of the form debian-linux-<version>"
                ))
            })?;
        let package = format!("linux-source-{version}");
        let folder = cache.join("guest/source");
        fs::create_dir_all(&folder).on("create", &folder)?;
        let _lock = lock(&folder.join(&package))?;
        let path = match kept(&folder, &package)? {
            Some(path) => path,
            None => {
                progress.step(&format!("Downloading Debian's {package}"));
                apt::download(&package, "bookworm", &folder)?
            }
        };
        Ok(Self {
            identity: archive_identity(&path)?,
            name: file_name(&path),
            form: Form::Package(path),
        })
    }

    fn from_path(path: &Path) -> Result<Self> {
        let path = fs::canonicalize(path).on("find the kernel source", path)?;
        let name = path.display().to_string();
        if !path.is_dir() {
            return Ok(Self {
                identity: archive_identity(&path)?,
                form: Form::Archive(path),
                name,
            });
        }
        let makefile = path.join("Makefile");
        let version = fs::read_to_string(&makefile).on("read", &makefile)?;
        Ok(Self {
            identity: sha256_of_parts(&["directory", &name, &version]),
            form: Form::Directory(path),
            name,
        })
    }

    /// Unpacks the source below `work`, or points to the user's folder.
    pub(crate) fn unpack(&self, work: &Path) -> Result<Tree> {
        let (archive, _package);
        match &self.form {
            Form::Directory(path) => {
                return Ok(Tree {
                    path: path.clone(),
                    foreign: true,
                });
            }
            Form::Archive(path) => archive = path.clone(),
            Form::Package(path) => {
                _package = tempfile::tempdir_in(work).on("create a folder in", work)?;
                run(
                    program("dpkg-deb").arg("-x").arg(path).arg(_package.path()),
                    "unpacks the kernel's source package",
                )?;
                let folder = _package.path().join("usr/src");
                archive = fs::read_dir(&folder)
                    .on("list", &folder)?
                    .filter_map(|entry| Some(entry.ok()?.path()))
                    .find(|path| file_name(path).contains(".tar"))
                    .ok_or_else(|| {
                        Error::KernelSource(format!("{} holds no archive", path.display()))
                    })?;
            }
        }
        let path = work.join("linux");
        fs::create_dir(&path).on("create", &path)?;
        run(
            program("tar")
                .args(["--strip-components=1", "--no-same-owner", "-xf"])
                .arg(&archive)
                .arg("-C")
                .arg(&path),
            "unpacks the kernel's source",
        )?;
        Ok(Tree {
            path,
            foreign: false,
        })
    }
}

/// Returns the newest downloaded package, by its version's numbers.
fn kept(folder: &Path, package: &str) -> Result<Option<PathBuf>> {
    let prefix = format!("{package}_");
    let version = |path: &PathBuf| -> Vec<u64> {
        file_name(path)
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect()
    };
    Ok(fs::read_dir(folder)
        .on("list", folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = file_name(path);
            name.starts_with(&prefix) && name.ends_with(".deb")
        })
        .max_by_key(version))
}

/// Returns the archive's SHA-256, computed once for each size and time of it.
fn archive_identity(path: &Path) -> Result<String> {
    let metadata = fs::metadata(path).on("read", path)?;
    let stamp = format!("{} {:?}", metadata.len(), metadata.modified().ok());
    let mut beside = path.as_os_str().to_owned();
    beside.push(".sha256");
    let beside = PathBuf::from(beside);
    if let Ok(text) = fs::read_to_string(&beside)
        && let Some((hash, kept)) = text.split_once('\n')
        && kept == stamp
    {
        return Ok(hash.to_owned());
    }
    let output = run(
        program("sha256sum").arg("--").arg(path),
        "hashes the kernel's source",
    )?;
    let text = String::from_utf8_lossy(&output);
    let hash = text
        .trim_start_matches('\\')
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    // A source in a folder that is not ours to write is hashed every time.
    let _ = write(&beside, format!("{hash}\n{stamp}").as_bytes());
    Ok(hash)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_kept_package_wins() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["6.12.9-1", "6.12.117-1", "6.12.20-2"] {
            let name = format!("linux-source-6.12_{version}~bpo12+1_all.deb");
            fs::write(folder.path().join(name), "").unwrap();
        }
        let path = kept(folder.path(), "linux-source-6.12").unwrap().unwrap();
        assert!(file_name(&path).contains("6.12.117"), "{path:?}");
        assert!(
            kept(folder.path(), "linux-source-6.1").unwrap().is_none(),
            "another package's name is no prefix"
        );
    }

    #[test]
    fn image_of_another_form_is_refused_by_name() {
        let cache = tempfile::tempdir().unwrap();
        let error = Source::find("linuxkit/kernel:6.6", None, cache.path(), &()).unwrap_err();
        assert!(
            error.to_string().contains("`linuxkit/kernel:6.6`"),
            "{error}"
        );
    }

    #[test]
    fn changed_archive_has_another_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("linux.tar.xz");
        fs::write(&path, "one").unwrap();
        let one = Source::from_path(&path).unwrap().identity;
        assert_eq!(one, Source::from_path(&path).unwrap().identity);
        fs::write(&path, "other").unwrap();
        assert_ne!(one, Source::from_path(&path).unwrap().identity);
    }
}
