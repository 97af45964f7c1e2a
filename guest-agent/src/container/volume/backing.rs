//! What is behind a volume: its own directory, a folder of the host, or memory.
//! The options are those of Docker's driver "local".

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::{VolumeRecord, Volumes};
use crate::container::error::Error;
use crate::container::mount::open_bind_source;
use crate::container::tmpfs;

/// What the options of a volume ask for.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    Bind,
    Tmpfs(Vec<String>),
}

/// Checks the options of a new volume, and returns its record.
///
/// # Errors
///
/// [`Error::Invalid`], and [`Error::Unsupported`] by name for what is not here.
pub(super) fn describe(
    mut record: VolumeRecord,
    options: BTreeMap<String, String>,
    bind_source: &str,
) -> Result<VolumeRecord, Error> {
    let kind = kind(&options)?;
    record.bind = match (kind, bind_source) {
        (Kind::Bind, "") => {
            return Err(Error::Invalid(
                "a volume of type none needs a device, a folder of the host".to_owned(),
            ));
        }
        (Kind::Bind, source) => Some(PathBuf::from(source)),
        _ => None,
    };
    record.options = options;
    Ok(record)
}

fn kind(options: &BTreeMap<String, String>) -> Result<Kind, Error> {
    if let Some(unknown) = options
        .keys()
        .find(|key| !["type", "o", "device"].contains(&key.as_str()))
    {
        return Err(match unknown.as_str() {
            "size" => Error::Unsupported(
                "volumes have no quota in Wherry: the option size is for type tmpfs, within o"
                    .to_owned(),
            ),
            unknown => Error::Invalid(format!("invalid option: {unknown:?}")),
        });
    }
    let option = |key: &str| options.get(key).map_or("", String::as_str);
    let words = option("o");
    match option("type") {
        "" if options.is_empty() => Ok(Kind::Directory),
        "tmpfs" => Ok(Kind::Tmpfs(tmpfs::parse(words)?.others)),
        "none" | "" | "bind" => {
            let is_bind = |word: &str| matches!(word, "bind" | "rbind");
            let known = |word: &str| is_bind(word) || matches!(word, "" | "rw" | "defaults");
            if !words.split(',').any(is_bind) {
                return Err(Error::Invalid(
                    "a volume of type none needs o=bind and a device".to_owned(),
                ));
            }
            match words.split(',').find(|word| !known(word)) {
                Some(word) => Err(Error::Unsupported(format!(
                    "the mount option {word:?} of a bound volume is not supported by Wherry: a mount can be read-only"
                ))),
                None => Ok(Kind::Bind),
            }
        }
        other => Err(Error::Unsupported(format!(
            "volumes of type {other:?} are not supported by Wherry, only tmpfs, and none with o=bind"
        ))),
    }
}

impl VolumeRecord {
    /// Tells whether its files are in its own directory.
    pub(in crate::container) fn is_plain(&self) -> bool {
        self.options.is_empty()
    }
}

impl Volumes {
    /// Opens what a container is to see of a volume: all of it, or the path in it.
    /// A link in that path leads nowhere out of the volume.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchVolume`], [`Error::Invalid`] where the folder of the host or
    /// the path is not there.
    pub(in crate::container) fn open_source(
        &self,
        shares: &Path,
        name: &str,
        subpath: &str,
    ) -> Result<OwnedFd, Error> {
        let _turn = self.turn();
        let record = self.find(name)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let data = self.data(name);
        let whole = match (&record.bind, kind(&record.options)?) {
            (Some(path), _) => {
                let host = record.options.get("device").map_or("", String::as_str);
                open_bind_source(shares, path, host)?
            }
            (None, kind) => {
                if let Kind::Tmpfs(options) = kind
                    && !self.is_mounted(name)
                {
                    mount_tmpfs(&data, &options)?;
                }
                rustix::fs::openat(CWD, &data, flags, Mode::empty())
                    .map_err(|error| Error::path("opening", &data, error))?
            }
        };
        if subpath.is_empty() {
            return Ok(whole);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&whole, subpath, flags, Mode::empty(), resolve).map_err(|error| {
            Error::Invalid(format!(
                "cannot access path {subpath} of the volume {name}: {error}"
            ))
        })
    }

    /// Tells whether a file system lies on a volume's directory.
    fn is_mounted(&self, name: &str) -> bool {
        let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev);
        let data = self.data(name);
        match (device(&data), data.parent().map(device)) {
            (Ok(data), Some(Ok(parent))) => data != parent,
            _ => false,
        }
    }

    /// Takes the file system off a volume's directory, where there is one.
    pub(super) fn unmount(&self, name: &str) -> Result<(), Error> {
        if !self.is_mounted(name) {
            return Ok(());
        }
        let data = self.data(name);
        umount2(&data, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(|error| Error::path("unmounting", &data, error))
    }
}

/// Mounts memory on a volume's directory. It stays until the volume is removed or
/// the machine stops: containers of the same time and of later share it.
fn mount_tmpfs(data: &Path, options: &[String]) -> Result<(), Error> {
    let mut flags = MsFlags::empty();
    let mut values = Vec::new();
    for option in options {
        match option.as_str() {
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            option if option.contains('=') => values.push(option),
            _ => {}
        }
    }
    let values = values.join(",");
    mount(
        Some("tmpfs"),
        data,
        Some("tmpfs"),
        flags,
        Some(values.as_str()),
    )
    .map_err(|error| Error::path("mounting memory on", data, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn options_say_what_is_behind_a_volume() {
        let of = |pairs: &[(&str, &str)]| kind(&options(pairs)).map_err(|error| error.to_string());
        assert_eq!(of(&[]), Ok(Kind::Directory));
        let bind = [("type", "none"), ("o", "bind"), ("device", "/srv")];
        assert_eq!(of(&bind), Ok(Kind::Bind));
        let memory = [
            ("type", "tmpfs"),
            ("device", "tmpfs"),
            ("o", "size=1m,uid=5"),
        ];
        let words = vec!["size=1m".to_owned(), "uid=5".to_owned()];
        assert_eq!(of(&memory), Ok(Kind::Tmpfs(words)));
        for (wrong, said) in [
            (
                &[("type", "nfs"), ("o", "addr=1.2.3.4"), ("device", ":/x")][..],
                "\"nfs\"",
            ),
            (&[("type", "none"), ("device", "/srv")], "o=bind"),
            (
                &[("type", "none"), ("o", "bind,ro"), ("device", "/srv")],
                "\"ro\"",
            ),
            (&[("type", "tmpfs"), ("o", "size=x")], "64m"),
            (&[("size", "1g")], "quota"),
            (&[("foo", "1")], "invalid option"),
        ] {
            let error = of(wrong).unwrap_err();
            assert!(error.contains(said), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn a_path_in_a_volume_leads_nowhere_out_of_it() {
        let store = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(store.path().join("volumes")).unwrap();
        volumes
            .ensure(&volumes.turn(), "data", BTreeMap::new(), false)
            .unwrap();
        let data = volumes.data("data");
        std::fs::create_dir_all(data.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", data.join("in")).unwrap();
        std::os::unix::fs::symlink("/etc", data.join("out")).unwrap();
        let open = |path: &str| volumes.open_source(store.path(), "data", path);
        for path in ["", "a", "a/b", "in/b"] {
            assert!(open(path).is_ok(), "{path}");
        }
        for path in ["out", "out/passwd", "..", "a/../..", "/etc", "none"] {
            let error = open(path).unwrap_err().to_string();
            assert!(error.starts_with("cannot access path"), "{path}: {error}");
        }
        assert!(volumes.open_source(store.path(), "other", "").is_err());
    }
}
