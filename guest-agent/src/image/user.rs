use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use super::Error;

/// More of a passwd or group file is not read, bytes.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// The kernel's limit of supplementary groups.
const MAX_GROUPS: usize = 65_536;

/// Whom a container's process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The user's number.
    pub(crate) uid: u32,
    /// The number of its first group.
    pub(crate) gid: u32,
    /// The other groups that list the user as a member.
    pub(crate) additional_gids: Vec<u32>,
    /// The home directory, `/` where the image names none.
    pub(crate) home: String,
}

/// Resolves `user`, `uid`, `user:group` and so on by the `/etc/passwd` and
/// `/etc/group` of a root file system, as runc and Docker do. Empty is root.
///
/// The files are the image's and may be hostile: they are opened without
/// leaving the root, read only if regular, and up to a limit.
pub(crate) fn resolve_user(rootfs: &Path, user: &str) -> Result<User, Error> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let entry = find_line(rootfs, "etc/passwd", |fields| {
        fields[0] == name || (number.is_some() && parse_id(fields.get(2)) == number)
    })?;
    let (uid, primary, home, login) = match (&entry, number) {
        (Some(fields), _) if parse_id(fields.get(2)).is_some() => (
            parse_id(fields.get(2)).unwrap_or(0),
            parse_id(fields.get(3)).unwrap_or(0),
            fields.get(5).cloned().unwrap_or_default(),
            fields[0].clone(),
        ),
        (_, Some(number)) if number != u32::MAX => (number, 0, String::new(), name.to_owned()),
        _ => {
            return Err(Error::UnknownUser(format!(
                "unable to find user {name}: no matching entries in passwd file"
            )));
        }
    };
    let (gid, additional_gids) = match group {
        Some(group) => (resolve_group(rootfs, group)?, Vec::new()),
        None => (primary, memberships(rootfs, &login, primary)?),
    };
    let home = if home.starts_with('/') {
        home
    } else {
        "/".to_owned()
    };
    Ok(User {
        uid,
        gid,
        additional_gids,
        home,
    })
}

fn resolve_group(rootfs: &Path, group: &str) -> Result<u32, Error> {
    let entry = find_line(rootfs, "etc/group", |fields| fields[0] == group)?;
    entry
        .and_then(|fields| parse_id(fields.get(2)))
        .or_else(|| group.parse().ok().filter(|gid| *gid != u32::MAX))
        .ok_or_else(|| {
            Error::UnknownUser(format!(
                "unable to find group {group}: no matching entries in group file"
            ))
        })
}

fn memberships(rootfs: &Path, login: &str, primary: u32) -> Result<Vec<u32>, Error> {
    let mut gids = Vec::new();
    visit_lines(rootfs, "etc/group", |fields| {
        let member = fields
            .get(3)
            .is_some_and(|members| members.split(',').any(|member| member == login));
        if let Some(gid) = parse_id(fields.get(2)).filter(|_| member)
            && gid != primary
            && !gids.contains(&gid)
        {
            gids.push(gid);
        }
        gids.len() == MAX_GROUPS
    })?;
    Ok(gids)
}

/// A user or group number; the largest means "no change" to chown and is none.
fn parse_id(field: Option<&String>) -> Option<u32> {
    field?.parse().ok().filter(|id| *id != u32::MAX)
}

fn find_line(
    rootfs: &Path,
    file: &str,
    fits: impl Fn(&[String]) -> bool,
) -> Result<Option<Vec<String>>, Error> {
    let mut found = None;
    visit_lines(rootfs, file, |fields| {
        let fits = fits(fields);
        if fits {
            found = Some(fields.to_vec());
        }
        fits
    })?;
    Ok(found)
}

/// Calls `visit` with the fields of each line until it says stop.
fn visit_lines(
    rootfs: &Path,
    name: &str,
    mut visit: impl FnMut(&[String]) -> bool,
) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        Error::io(format!("reading /{name} of {}", rootfs.display()), error)
    };
    let Some(file) = open_regular(rootfs, name).map_err(failed)? else {
        return Ok(());
    };
    for line in BufReader::new(file.take(MAX_FILE)).split(b'\n') {
        let line = line.map_err(failed)?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<_> = line.split(':').map(str::to_owned).collect();
        if visit(&fields) {
            break;
        }
    }
    Ok(())
}

/// Opens a regular file of the image, its symbolic links taken within the
/// image. Anything else (absent, a fifo that would block, a device) is none.
fn open_regular(rootfs: &Path, name: &str) -> std::io::Result<Option<File>> {
    let root = rustix::fs::openat(
        CWD,
        rootfs,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // First only a handle: opening a device or fifo for reading may act on it.
    let confined = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let handle = match rustix::fs::openat2(
        &root,
        name,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        confined,
    ) {
        Ok(handle) => handle,
        Err(error) if absent(error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode);
    if kind != FileType::RegularFile {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: OwnedFd = match rustix::fs::openat2(&root, name, flags, Mode::empty(), confined) {
        Ok(file) => file,
        Err(error) if absent(error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(File::from(file)))
}

fn absent(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn rootfs(passwd: &[u8], group: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        fs::write(root.path().join("etc/group"), group).unwrap();
        root
    }

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:\nbare:x:5\n# comment\n\n";
    const GROUP: &[u8] = b"root:x:0:\nweb:x:34:\nadm:x:4:x,www\nlog:x:7:www\n";

    #[test]
    fn users_resolve_as_runc_does() {
        let root = rootfs(PASSWD, GROUP);
        let resolve = |user: &str| resolve_user(root.path(), user).unwrap();
        let www = User {
            uid: 33,
            gid: 34,
            additional_gids: vec![4, 7],
            home: "/var/www".to_owned(),
        };
        assert_eq!(resolve("www"), www);
        assert_eq!(resolve("33"), www);
        assert_eq!(resolve("").home, "/root");
        assert_eq!(
            resolve("www:adm"),
            User {
                gid: 4,
                additional_gids: vec![],
                ..www.clone()
            }
        );
        assert_eq!(resolve("www:99").gid, 99);
        assert_eq!(
            resolve("1234"),
            User {
                uid: 1234,
                gid: 0,
                additional_gids: vec![],
                home: "/".to_owned()
            }
        );
        assert_eq!(resolve("1234:5").gid, 5);
        let error = resolve_user(root.path(), "nobody").unwrap_err().to_string();
        assert_eq!(
            error,
            "unable to find user nobody: no matching entries in passwd file"
        );
        let error = resolve_user(root.path(), "www:nope")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "unable to find group nope: no matching entries in group file"
        );
        assert!(resolve_user(root.path(), "4294967295").is_err());
        assert!(resolve_user(root.path(), "0:4294967295").is_err());
    }

    #[test]
    fn an_image_without_passwd_knows_numbers_only() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(resolve_user(root.path(), "7:8").unwrap().gid, 8);
        assert!(resolve_user(root.path(), "www").is_err());
    }

    #[test]
    fn a_passwd_that_points_out_of_the_image_is_not_read() {
        let root = rootfs(PASSWD, GROUP);
        let outside = rootfs(b"evil:x:66:66::/:\n", b"");
        let link = root.path().join("etc/passwd");
        for target in [
            outside.path().join("etc/passwd"),
            "../../../../../etc/passwd".into(),
            "/proc/self/root/etc/passwd".into(),
        ] {
            fs::remove_file(&link).unwrap();
            symlink(target, &link).unwrap();
            assert!(resolve_user(root.path(), "evil").is_err());
            assert!(
                resolve_user(root.path(), "daemon").is_err(),
                "the host's own file was read"
            );
        }
    }

    #[test]
    fn a_passwd_that_is_no_file_does_not_block() {
        let root = rootfs(PASSWD, GROUP);
        let path = root.path().join("etc/passwd");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(resolve_user(root.path(), "9").unwrap().uid, 9);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(resolve_user(root.path(), "9").unwrap().uid, 9);
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic(passwd: Vec<u8>, group: Vec<u8>, user in "\\PC{0,12}") {
            let root = rootfs(&passwd, &group);
            let _ = resolve_user(root.path(), &user);
        }
    }
}
