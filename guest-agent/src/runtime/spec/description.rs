//! A container before it is a specification.

use std::collections::HashMap;
use std::path::PathBuf;

use libcontainer::oci_spec::OciSpecError;
use serde::{Deserialize, Serialize};

use wherry_proto::v1::Ulimit;

use crate::runtime::protocol::TerminalSize;

/// A container, with everything resolved that needs a look at an image or the
/// machine: the user is numbers, paths are absolute.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerDescription {
    /// The mounted root file system.
    pub(crate) rootfs: PathBuf,
    /// The command line, the program first.
    pub(crate) args: Vec<String>,
    /// `KEY=value`; PATH, HOSTNAME and TERM are added where missing.
    pub(crate) env: Vec<String>,
    /// The working directory; `/` when empty.
    pub(crate) cwd: String,
    /// Who runs the command.
    pub(crate) user: User,
    /// The host name.
    pub(crate) hostname: String,
    /// The NIS domain name.
    pub(crate) domainname: String,
    /// Annotations of the specification.
    pub(crate) annotations: HashMap<String, String>,
    /// Mounts beside the defaults, in order; one on a default's target replaces it.
    pub(crate) mounts: Vec<MountPoint>,
    /// Limits on each of its processes.
    pub(crate) ulimits: Vec<Ulimit>,
    /// How gladly the kernel kills it for want of memory, -1000 to 1000.
    pub(crate) oom_score_adj: i32,
    /// Capabilities beside Docker's default fourteen: `NET_ADMIN`, `CAP_NET_ADMIN`, `ALL`.
    pub(crate) cap_add: Vec<String>,
    /// Capabilities taken away; `ALL` is every one not added.
    pub(crate) cap_drop: Vec<String>,
    /// `--security-opt`: `no-new-privileges`, `seccomp=unconfined`, `seccomp=<JSON>`,
    /// `apparmor=unconfined`, `label=…`.
    pub(crate) security_opt: Vec<String>,
    /// Every capability, every device, nothing masked, no seccomp profile.
    pub(crate) privileged: bool,
    /// What is hidden, where not Docker's defaults.
    pub(crate) masked_paths: Option<Vec<String>>,
    /// What of `/proc` and `/sys` cannot be written, where not Docker's defaults.
    pub(crate) readonly_paths: Option<Vec<String>>,
    /// The root file system cannot be written.
    pub(crate) read_only: bool,
    /// The command has a terminal.
    pub(crate) terminal: bool,
    /// The terminal's first size.
    pub(crate) terminal_size: Option<TerminalSize>,
    /// Its network namespace.
    pub(crate) network: NetworkNamespace,
    /// Whose processes it sees.
    pub(crate) pid: Namespace,
    /// Whose shared memory and semaphores it has.
    pub(crate) ipc: Namespace,
    /// Whose host name it has.
    pub(crate) uts: Namespace,
    /// Below which cgroup it sees the hierarchy.
    pub(crate) cgroup_namespace: Namespace,
    /// Kernel settings of its namespaces.
    pub(crate) sysctls: HashMap<String, String>,
    /// Devices beside Docker's defaults.
    pub(crate) devices: Vec<Device>,
    /// Which devices beside those it may make and use.
    pub(crate) device_rules: Vec<DeviceRule>,
    /// Its cgroup is its own to divide.
    pub(crate) delegated: bool,
    /// Its cgroup, absolute below the root of the hierarchy: `/wherry/<id>`.
    pub(crate) cgroup: PathBuf,
    /// It has no `/dev/shm`.
    pub(crate) no_shm: bool,
    /// The size of `/dev/shm`, bytes; 0: Docker's 64 MiB.
    pub(crate) shm_size: u64,
}

/// A user as the kernel knows one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// The user's number.
    pub(crate) uid: u32,
    /// The group's number.
    pub(crate) gid: u32,
    /// The other groups' numbers.
    pub(crate) additional_gids: Vec<u32>,
}

/// Something mounted into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPoint {
    /// What.
    pub(crate) kind: MountKind,
    /// Where, an absolute path in the container.
    pub(crate) target: String,
    /// It cannot be written.
    pub(crate) read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// A directory or file of the guest.
    Bind(PathBuf),
    /// An empty file system in memory, with its mount options (`size=64m`).
    Tmpfs(Vec<String>),
}

/// A namespace of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// One of its own.
    #[default]
    New,
    /// That of a process.
    Path(PathBuf),
    /// The guest's.
    Host,
}

/// A device of the guest in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// Its path in the container.
    pub(crate) target: String,
    /// A block device; otherwise a character device.
    pub(crate) block: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Of `rwm`.
    pub(crate) permissions: String,
    /// The permissions of its node.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What a container may do with some devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    /// `a` all, `b` block or `c` character devices.
    pub(crate) kind: char,
    /// `None`: every.
    pub(crate) major: Option<u32>,
    /// `None`: every.
    pub(crate) minor: Option<u32>,
    /// Of `rwm`.
    pub(crate) access: String,
}

/// A container's network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum NetworkNamespace {
    /// A new one with nothing but an unconfigured loopback.
    #[default]
    New,
    /// One that was made before.
    Path(PathBuf),
    /// The guest's.
    Host,
}

/// What in a description cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    /// There is no command.
    #[error("no command specified")]
    NoCommand,
    /// A capability that Linux does not have.
    #[error("invalid capability: {0:?}")]
    Capability(String),
    /// A security option that is none.
    #[error("invalid --security-opt: {0:?}")]
    SecurityOption(String),
    /// A seccomp profile that is none.
    #[error("the seccomp profile is not valid")]
    SeccompProfile(#[source] serde_json::Error),
    /// A limit on processes that Linux does not have.
    #[error("invalid ulimit type: {0}")]
    Ulimit(String),
    /// A working directory or mount point that is not absolute.
    #[error("{0:?} is not an absolute path")]
    RelativePath(String),
    /// A specification that the OCI types refuse.
    #[error("building the runtime specification")]
    Oci(#[from] OciSpecError),
}
