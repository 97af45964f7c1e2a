//! What a container shares with the guest or with other containers:
//! namespaces, kernel settings, devices.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use wherry_proto::v1::ContainerSpec;

use super::error::Error;
use super::record::{Paths, Status};
use super::{Container, Containers};
use crate::runtime::spec::{Device, DeviceRule, MountKind, MountPoint, Namespace};

/// The settings that belong to a container's own namespaces, Docker's list.
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Shared memory that other containers can have, beside the pinned mounts.
const SHM: &str = "shm";

/// Checks modes and settings, in Docker's words.
///
/// # Errors
///
/// [`Error::Invalid`] for the first that cannot be.
pub(super) fn check(spec: &ContainerSpec) -> Result<(), Error> {
    for (what, mode, others) in [
        ("PID", &spec.pid_mode, &["host"][..]),
        (
            "IPC",
            &spec.ipc_mode,
            &["host", "none", "private", "shareable"],
        ),
        ("UTS", &spec.uts_mode, &["host"]),
        (
            "cgroup namespace",
            &spec.cgroupns_mode,
            &["host", "private"],
        ),
    ] {
        let of_container = matches!(what, "PID" | "IPC")
            && mode
                .strip_prefix("container:")
                .is_some_and(|name| !name.is_empty());
        if !mode.is_empty() && !of_container && !others.contains(&mode.as_str()) {
            return invalid(format!("invalid {what} mode: {mode}"));
        }
    }
    if spec.uts_mode == "host" && !(spec.hostname.is_empty() && spec.domainname.is_empty()) {
        return invalid("conflicting options: hostname and the UTS mode");
    }
    for name in spec.sysctls.keys() {
        let network = name.starts_with("net.");
        if network && spec.network == "host" {
            return invalid(format!(
                "sysctl '{name}' is not allowed in the host network namespace"
            ));
        }
        let own = network || name.starts_with("fs.mqueue.") || SYSCTLS.contains(&name.as_str());
        if !own || name.contains(['/', '\0']) || name.contains("..") {
            return invalid(format!("sysctl '{name}' is not allowed"));
        }
    }
    device_rules(spec)?;
    devices(spec).map(drop)
}

/// Reads the rules for devices that a container may make and use, such as
/// `c 10:200 rwm`.
///
/// # Errors
///
/// [`Error::Invalid`] for what is no rule, in Docker's words.
pub(super) fn device_rules(spec: &ContainerSpec) -> Result<Vec<DeviceRule>, Error> {
    let rules = spec.device_cgroup_rules.iter().map(|text| {
        device_rule(text)
            .ok_or_else(|| Error::Invalid(format!("invalid device cgroup format '{text}'")))
    });
    rules.collect()
}

fn device_rule(text: &str) -> Option<DeviceRule> {
    let number = |text: &str| match text {
        "*" => Some(None),
        text => text.parse::<u32>().ok().map(Some),
    };
    let mut words = text.split(' ');
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let sound = words.next().is_none()
        && matches!(kind, "a" | "b" | "c")
        && (1..=3).contains(&access.len())
        && access.chars().all(|letter| "rwm".contains(letter));
    Some(DeviceRule {
        kind: kind.chars().next().filter(|_| sound)?,
        major: number(major)?,
        minor: number(minor)?,
        access: access.to_owned(),
    })
}

/// Finds the devices that a container asks for.
///
/// # Errors
///
/// [`Error::Invalid`] for one that is not there.
pub(super) fn devices(spec: &ContainerSpec) -> Result<Vec<Device>, Error> {
    let mut found = Vec::new();
    for device in &spec.devices {
        let path = &device.path;
        let wrong = |why: &str| {
            Error::Invalid(format!(
                "error gathering device information while adding custom device {path:?}: {why}"
            ))
        };
        let target = match device.target.as_str() {
            "" => path,
            target => target,
        };
        let permissions = match device.permissions.as_str() {
            "" => "rwm",
            permissions => permissions,
        };
        if permissions.chars().any(|letter| !"rwm".contains(letter)) {
            return Err(wrong("permissions are of r, w and m"));
        }
        if !target.starts_with("/dev/") || target.contains("..") {
            return Err(wrong("its place in the container must be below /dev"));
        }
        let node = fs::metadata(path).map_err(|_| wrong("no such file or directory"))?;
        let kind = node.file_type();
        if !kind.is_block_device() && !kind.is_char_device() {
            return Err(wrong("not a device node"));
        }
        found.push(Device {
            target: target.to_owned(),
            block: kind.is_block_device(),
            major: libc::major(node.rdev()),
            minor: libc::minor(node.rdev()),
            permissions: permissions.to_owned(),
            mode: node.mode() & 0o777,
            uid: node.uid(),
            gid: node.gid(),
        });
    }
    Ok(found)
}

/// Returns the id in `container:ID`.
pub(super) fn target(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:")
}

impl Containers {
    /// Puts ids in place of names in a container's modes, for names change.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a container that is not there.
    pub(super) fn resolve_modes(&self, spec: &mut ContainerSpec) -> Result<(), Error> {
        for mode in [&mut spec.pid_mode, &mut spec.ipc_mode] {
            if let Some(name) = target(mode) {
                let id = self.find(name)?.id.clone();
                *mode = format!("container:{id}");
            }
        }
        Ok(())
    }

    /// Finds the namespace of a mode.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where the container that has it does not run.
    pub(super) fn namespace(&self, mode: &str, name: &str) -> Result<Namespace, Error> {
        let Some(other) = target(mode) else {
            return Ok(match mode {
                "host" => Namespace::Host,
                _ => Namespace::New,
            });
        };
        let pid = self.pid_of(other)?;
        Ok(Namespace::Path(format!("/proc/{pid}/ns/{name}").into()))
    }

    fn pid_of(&self, id: &str) -> Result<u32, Error> {
        let other = self.find(id)?;
        let state = &other.cell().record.state;
        if state.status != Status::Running || state.pid == 0 {
            return Err(Error::State(format!(
                "cannot join the namespace of a non running container: {id}"
            )));
        }
        Ok(state.pid)
    }

    /// Returns the mounts that come with a container's modes: the shared memory
    /// of who shares its own, or its own where it is to be shared.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where the other container does not share its own.
    pub(super) fn mode_mounts(&self, container: &Container) -> Result<Vec<MountPoint>, Error> {
        let record = container.record();
        if record.mounts.iter().any(|mount| mount.target == "/dev/shm") {
            return Ok(Vec::new());
        }
        let source = match record.spec.ipc_mode.as_str() {
            "host" => PathBuf::from("/dev/shm"),
            "shareable" => shared_memory(&container.paths, record.spec.shm_size)?,
            mode => match target(mode) {
                Some(other) => self.shared_memory_of(other)?,
                None => return Ok(Vec::new()),
            },
        };
        Ok(vec![MountPoint {
            kind: MountKind::Bind(source),
            target: "/dev/shm".to_owned(),
            read_only: false,
        }])
    }

    fn shared_memory_of(&self, id: &str) -> Result<PathBuf, Error> {
        self.pid_of(id)?;
        let other = self.find(id)?;
        let mode = other.cell().record.spec.ipc_mode.clone();
        match mode.as_str() {
            "host" => Ok("/dev/shm".into()),
            "shareable" => Ok(other.paths.mounts.join(SHM)),
            _ => Err(Error::State(format!(
                "cannot join IPC of a container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            ))),
        }
    }
}

/// Mounts memory that other containers can mount too; `clean_up` unmounts it
/// with what else is in that directory.
fn shared_memory(paths: &Paths, size: u64) -> Result<PathBuf, Error> {
    use nix::mount::MsFlags;
    let place = paths.mounts.join(SHM);
    fs::create_dir_all(&place).map_err(|error| Error::path("making", &place, error))?;
    let size = match size {
        0 => 64 << 20,
        size => size,
    };
    let options = format!("mode=1777,size={size}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(
        Some("shm"),
        &place,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )
    .map_err(|error| Error::path("mounting on", &place, error))?;
    Ok(place)
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(&mut ContainerSpec)) -> String {
        let mut spec = ContainerSpec::default();
        change(&mut spec);
        check(&spec).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let sysctl = |name: &str| [(name.to_owned(), "1".to_owned())].into();
        assert_eq!(
            fault(|spec| spec.pid_mode = "x".to_owned()),
            "invalid PID mode: x"
        );
        assert!(fault(|spec| spec.uts_mode = "container:a".to_owned()).contains("UTS"));
        assert!(fault(|spec| spec.sysctls = sysctl("kernel.panic")).contains("not allowed"));
        assert!(fault(|spec| spec.sysctls = sysctl("net.a/../../x")).contains("not allowed"));
        assert!(
            fault(|spec| {
                spec.sysctls = sysctl("net.ipv4.ip_forward");
                spec.network = "host".to_owned();
            })
            .contains("host network")
        );
        let device = |path: &str, target: &str, permissions: &str| {
            let device = wherry_proto::v1::Device {
                path: path.to_owned(),
                target: target.to_owned(),
                permissions: permissions.to_owned(),
            };
            fault(|spec| spec.devices = vec![device])
        };
        assert!(device("/dev/nope", "", "").contains("no such file"));
        assert!(device("/etc", "/dev/x", "").contains("not a device"));
        assert!(device("/dev/null", "/etc/x", "").contains("below /dev"));
        assert!(device("/dev/null", "", "x").contains("permissions"));
    }

    #[test]
    fn a_rule_for_devices_has_a_kind_numbers_and_rights() {
        let rule = device_rule("c 10:200 rw").unwrap();
        assert_eq!(
            (rule.kind, rule.major, rule.minor, rule.access.as_str()),
            ('c', Some(10), Some(200), "rw")
        );
        assert_eq!(device_rule("a *:* rwm").unwrap().major, None);
        for wrong in [
            "",
            "c 1:3",
            "d 1:3 r",
            "c 1 r",
            "c 1:x r",
            "c 1:3 x",
            "c 1:3 r r",
            "c 1:3 ",
        ] {
            assert!(device_rule(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_device_is_found_by_its_numbers() {
        let spec = ContainerSpec {
            devices: vec![wherry_proto::v1::Device {
                path: "/dev/null".to_owned(),
                target: "/dev/nothing".to_owned(),
                permissions: String::new(),
            }],
            ..ContainerSpec::default()
        };
        let found = devices(&spec).unwrap();
        assert_eq!(
            (found[0].major, found[0].minor, found[0].block),
            (1, 3, false)
        );
        assert_eq!(found[0].permissions, "rwm");
    }
}
