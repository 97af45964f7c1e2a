//! Which capabilities a container has, after Docker's `--cap-add` and `--cap-drop`.

use libcontainer::oci_spec::runtime::{Capabilities, Capability};

use super::SpecError;

/// A set of capabilities.
pub(super) type Set = Capabilities;

/// Docker's default fourteen.
const DEFAULT: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Every one, in the kernel's order (include/uapi/linux/capability.h).
const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// Returns every capability that Linux has.
pub(super) fn all() -> Set {
    ALL.into_iter().collect()
}

/// Returns what a container has. `ALL` added or dropped says where to begin,
/// then the named ones are dropped and added.
pub(super) fn resolve(privileged: bool, add: &[String], drop: &[String]) -> Result<Set, SpecError> {
    let (add_all, add) = parse(add)?;
    let (drop_all, drop) = parse(drop)?;
    if privileged {
        return Ok(all());
    }
    let mut set: Set = if add_all {
        all()
    } else if drop_all {
        Set::default()
    } else {
        DEFAULT.into_iter().collect()
    };
    set.retain(|capability| !drop.contains(capability));
    set.extend(add);
    Ok(set)
}

fn parse(names: &[String]) -> Result<(bool, Vec<Capability>), SpecError> {
    let mut everything = false;
    let mut list = Vec::new();
    for name in names {
        let upper = name.trim().to_ascii_uppercase();
        if upper == "ALL" || upper == "CAP_ALL" {
            everything = true;
        } else {
            list.push(by_name(&upper).ok_or_else(|| SpecError::Capability(name.clone()))?);
        }
    }
    Ok((everything, list))
}

/// Finds a capability by its name, with or without `CAP_`.
pub(super) fn by_name(name: &str) -> Option<Capability> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    ALL.into_iter()
        .find(|capability| capability.to_string() == name)
}
