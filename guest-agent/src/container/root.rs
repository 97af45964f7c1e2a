//! A container's file system: its root, what is mounted into it, and the
//! files that the agent writes for it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::error::Error;
use super::mount::{MountSource, ResolvedMount, open_bind_source, pin};
use super::network::Link;
use super::record::{Paths, Record};
use super::volume::Volumes;
use super::{Places, chain, system};
use crate::image::{self, Store};
use crate::network::{Attachment, ResolverOptions, hosts, resolv_conf};
use crate::runtime::spec::{self, MountKind, MountPoint};

/// What a container's root holds, once it is mounted.
pub(super) struct Root {
    /// The mounts, in order.
    pub(super) mounts: Vec<MountPoint>,
    /// Who the command runs as.
    pub(super) user: image::User,
}

/// What comes before the command of a container with an init of ours.
pub(super) const INIT: [&str; 2] = ["/sbin/docker-init", "--"];

/// Where the shim notes how the container ended.
pub(super) fn exit_file(paths: &Paths) -> PathBuf {
    paths.directory.join("exit.json")
}

/// Returns an image's user as the runtime takes one.
pub(super) fn runtime_user(user: image::User) -> spec::User {
    spec::User {
        uid: user.uid,
        gid: user.gid,
        additional_gids: user.additional_gids,
    }
}

/// Mounts the root, fills new volumes, and pins what is bind-mounted. What a
/// failure leaves half done, `clean_up` undoes.
pub(super) fn prepare(
    images: &Store,
    volumes: &Volumes,
    places: &Places,
    record: &Record,
    paths: &Paths,
) -> Result<Root, Error> {
    let root = paths.root();
    let mut overlay = images.prepare_root(&record.image_id, &paths.directory)?;
    // Unmounting any other waits until the whole disk is synced.
    overlay.volatile = record.spec.auto_remove;
    fs::create_dir_all(&root).map_err(|error| Error::path("making", &root, error))?;
    // Of an earlier start that was cut off.
    image::unmount_root(&root)?;
    if overlay.volatile {
        // What forbids a second mount: that a power cut may have left the first
        // one incomplete. This machine has been up since (overlayfs.rst).
        let mark = overlay.work.join("work/incompat/volatile");
        match fs::remove_dir_all(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::path("removing", &mark, error));
            }
            _ => {}
        }
    }
    overlay.mount(&root)?;
    match fs::remove_file(exit_file(paths)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::path("removing", &exit_file(paths), error));
        }
        _ => {}
    }
    let mut mounts = Vec::new();
    for (number, mount) in record.mounts.iter().enumerate() {
        let kind = match &mount.source {
            MountSource::Tmpfs => MountKind::Tmpfs(tmpfs_options(&root, mount)),
            MountSource::Volume { name, subpath, .. } => {
                let durable = !record.spec.auto_remove;
                volumes.ensure(&volumes.turn(), name, BTreeMap::new(), durable)?;
                let is_plain = volumes.find(name)?.is_plain() && subpath.is_empty();
                if !mount.no_copy && is_plain {
                    volumes.fill(name, &root, &mount.target, durable)?;
                }
                if is_plain {
                    MountKind::Bind(volumes.data(name))
                } else {
                    let source = volumes.open_source(&places.shares, name, subpath)?;
                    let target = paths.mounts.join(number.to_string());
                    pin(&source, &target)?;
                    MountKind::Bind(target)
                }
            }
            MountSource::EngineSocket { .. } => MountKind::Bind(places.engine_socket.clone()),
            MountSource::Bind { path, host } => {
                let source = open_bind_source(&places.shares, path, host)?;
                let target = paths.mounts.join(number.to_string());
                pin(&source, &target)?;
                MountKind::Bind(target)
            }
        };
        mounts.push(MountPoint {
            kind,
            target: mount.target.clone(),
            read_only: mount.read_only,
        });
    }
    let directory = working_directory(record);
    if directory != "/" {
        make_directory(&root, directory).map_err(|error| {
            Error::io(format!("making the working directory {directory}"), error)
        })?;
    }
    if record.spec.init {
        let agent =
            std::env::current_exe().map_err(|error| Error::io("finding the agent", error))?;
        mounts.push(MountPoint {
            kind: MountKind::Bind(agent),
            target: INIT[0].to_owned(),
            read_only: true,
        });
    }
    if system::is_system(record) {
        mounts.splice(0..0, system::mounts(record));
    }
    let user = match record.spec.user.as_str() {
        "" => &record.image_config.user,
        user => user,
    };
    let mut user = image::resolve_user(&root, user)?;
    for group in &record.spec.group_add {
        user.additional_gids
            .push(image::resolve_user(&root, &format!("0:{group}"))?.gid);
    }
    Ok(Root { mounts, user })
}

/// Returns the options of a tmpfs. Where none says its permissions, they are
/// those of the directory below it, as with runc.
fn tmpfs_options(root: &Path, mount: &ResolvedMount) -> Vec<String> {
    let mut options = mount.options.clone();
    if !options.iter().any(|option| option.starts_with("mode=")) {
        let directory = open_directory(root, &mount.target);
        let mode = directory
            .and_then(rustix::fs::fstat)
            .map(|stat| stat.st_mode);
        options.extend(mode.map(|mode| format!("mode={:o}", mode & 0o7777)));
    }
    options
}

/// Opens a directory in a container's root, its symbolic links taken within the
/// root.
fn open_directory(root: &Path, directory: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let top = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    rustix::fs::openat2(&top, directory, flags, Mode::empty(), resolve)
}

/// The working directory: the container's, the image's, or `/`.
pub(super) fn working_directory(record: &Record) -> &str {
    [&record.spec.working_dir, &record.image_config.working_dir]
        .into_iter()
        .find(|directory| directory.starts_with('/'))
        .map_or("/", String::as_str)
}

/// Returns the host name with its domain.
fn full_name(record: &Record) -> String {
    match record.spec.domainname.as_str() {
        "" => record.hostname.clone(),
        domain => format!("{}.{domain}", record.hostname),
    }
}

/// Writes `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname`, and returns
/// their mounts, without those in whose place the user mounts something.
pub(super) fn network_files(
    record: &Record,
    attachment: &Attachment,
    links: &[Link],
    paths: &Paths,
) -> Result<Vec<MountPoint>, Error> {
    let invalid = |error| Error::Invalid(chain(&error));
    let resolver = ResolverOptions {
        servers: &record.spec.dns,
        search: &record.spec.dns_search,
        options: &record.spec.dns_options,
    };
    let mut hosts =
        hosts(attachment, &full_name(record), &record.spec.extra_hosts).map_err(invalid)?;
    hosts.extend(links.iter().map(|link| link.line() + "\n"));
    let files = [
        ("hosts", hosts),
        (
            "resolv.conf",
            resolv_conf(attachment, resolver).map_err(invalid)?,
        ),
        ("hostname", format!("{}\n", record.hostname)),
    ];
    let mut mounts = Vec::new();
    for (name, content) in files {
        let target = format!("/etc/{name}");
        if record.mounts.iter().any(|mount| mount.target == target) {
            continue;
        }
        let path = paths.directory.join(name);
        fs::write(&path, content).map_err(|error| Error::path("writing", &path, error))?;
        mounts.push(MountPoint {
            kind: MountKind::Bind(path),
            target,
            read_only: false,
        });
    }
    Ok(mounts)
}

/// Makes a directory and those above it in a container's root, its symbolic
/// links taken within the root.
pub(super) fn make_directory(root: &Path, directory: &str) -> std::io::Result<()> {
    use rustix::io::Errno;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let top = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let open = |path: &Path| -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat2(&top, path, flags, Mode::empty(), resolve)
    };
    let mut path = PathBuf::from("/");
    let mut parent = open(&path)?;
    for part in Path::new(directory).components().skip(1) {
        path.push(part);
        parent = match open(&path) {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                let name: &Path = part.as_ref();
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                open(&path)?
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_working_directory_is_made_within_the_root() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        fs::create_dir(root.path().join("real")).unwrap();
        symlink("/real", root.path().join("in")).unwrap();
        make_directory(root.path(), "/a/b/c").unwrap();
        assert!(root.path().join("a/b/c").is_dir());
        make_directory(root.path(), "/in/side").unwrap();
        assert!(root.path().join("real/side").is_dir());
        // The link leads nowhere within the root, and nothing appears outside.
        let _ = make_directory(root.path(), "/out/x");
        let _ = make_directory(root.path(), "/../x");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
