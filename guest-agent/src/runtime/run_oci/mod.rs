//! Creates containers and processes in them, on libcontainer.
//!
//! libcontainer forks with allocation, changes the working directory and locks
//! the process down, so each creation runs in a process of its own: a fork of
//! the shim, which has one thread and little memory. Executing the binary anew
//! for it would cost two more milliseconds and gain nothing.

mod causes;
mod cwd;
mod executor;
mod fork;
mod seccomp;

use std::error::Error;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::{LinuxCapabilities, PosixRlimitType, Process, Spec};
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::protocol::{ExecSpec, Failure, FailureKind};
use super::spec;
use causes::Causes;
use executor::Launcher;

pub(super) use fork::{Creation, Made, in_child};

/// libcontainer's name for the container, and of its folder in the shim's
/// directory. The cgroup's path is in the specification, so it names nothing else.
pub(super) const NAME: &str = "oci";

/// The socket on which a created container waits for its start.
pub(super) const START_SOCKET: &str = "oci/notify.sock";

/// The container's specification, in the shim's directory.
const CONFIG: &str = "config.json";

/// The bundle that libcontainer reads: the same specification without the
/// seccomp profile, which is not libcontainer's to load.
pub(super) const BUNDLE: &str = "bundle";

/// The compiled profile, for execs.
const FILTER: &str = "seccomp.json";

/// Where the new process's standard streams lead.
#[derive(Debug)]
pub(super) enum Streams {
    /// Pipes: input, output and error.
    Pipes([OwnedFd; 3]),
    /// A terminal, whose master is sent to the socket at this path.
    Terminal(PathBuf),
}

impl Streams {
    fn apply(self, builder: ContainerBuilder) -> ContainerBuilder {
        match self {
            Self::Pipes([stdin, stdout, stderr]) => builder
                .with_stdin(stdin)
                .with_stdout(stdout)
                .with_stderr(stderr),
            Self::Terminal(socket) => builder.with_console_socket(Some(socket)),
        }
    }

    /// Gives the pipes to the user that the process runs as, so that it can
    /// open `/dev/stdout` again (as runc does).
    fn give_to(&self, uid: u32) {
        if let (Self::Pipes(pipes), true) = (self, uid != 0) {
            for pipe in pipes {
                // /dev/null among them must not change hands.
                if is_pipe(pipe) {
                    let _ = nix::unistd::fchown(pipe, Some(uid.into()), None);
                }
            }
        }
    }
}

fn is_pipe(descriptor: &OwnedFd) -> bool {
    rustix::fs::fstat(descriptor).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo
    })
}

/// Makes the container described by `config.json` in `directory`. Returns its
/// first process, which waits on [`START_SOCKET`].
pub(super) fn create(directory: &Path, streams: Streams) -> Result<Made, Failure> {
    let causes = Causes::collect();
    let mut spec = load(directory)?;
    let process = spec.process().clone().unwrap_or_default();
    streams.give_to(process.user().uid());
    if let Some(root) = spec.root() {
        cwd::create(root.path(), process.cwd()).map_err(|error| {
            other(format!(
                "creating the working directory {}: {error}",
                process.cwd().display()
            ))
        })?;
    }
    let profile = spec.linux_mut().as_mut().and_then(|linux| {
        let profile = linux.seccomp().clone();
        linux.set_seccomp(None);
        profile
    });
    let filter = profile
        .map(|profile| seccomp::compile(&profile))
        .transpose()
        .map_err(|error| other(error.to_string()))?;
    if let Some(filter) = &filter {
        write_json(&directory.join(FILTER), filter)?;
        spec.set_process(Some(widened(&process)));
    }
    // A limit of the container's own is set after this one.
    let own_limit = process
        .rlimits()
        .iter()
        .flatten()
        .any(|limit| limit.typ() == PosixRlimitType::RlimitMemlock);
    let locked = getrlimit(Resource::RLIMIT_MEMLOCK)
        .ok()
        .filter(|_| !own_limit);
    if !may_load_device_rules() {
        // Somebody's sandbox, where the agent runs as a plain process.
        eprintln!("no CAP_SYS_RESOURCE: the container runs without limits and device rules");
        if let Some(linux) = spec.linux_mut() {
            linux.set_resources(None);
        }
    }
    let bundle = directory.join(BUNDLE);
    std::fs::create_dir(&bundle)
        .map_err(|error| other(format!("creating {}: {error}", bundle.display())))?;
    write_json(&bundle.join(CONFIG), &spec)?;
    let container = streams
        .apply(builder(Launcher::new(&process, filter, locked)))
        .with_root_path(directory)
        .map_err(failure)?
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|error| explained(error, causes.as_ref()))?;
    match container.pid() {
        Some(pid) => Ok(Made {
            pid: pid.as_raw(),
            uid: process.user().uid(),
        }),
        None => Err(other("the container has no process".to_owned())),
    }
}

/// Tells whether libcgroups can load the cgroup's device program, for which it
/// raises the limit on locked memory to this (0.7.0, v2/devices/bpf.rs). In the
/// guest it always can.
fn may_load_device_rules() -> bool {
    const LOCKED: u64 = 128 << 20;
    setrlimit(Resource::RLIMIT_MEMLOCK, LOCKED, LOCKED).is_ok()
}

/// Runs a process in the container of `directory`. Returns it once its command runs.
pub(super) fn exec(directory: &Path, exec: &ExecSpec, streams: Streams) -> Result<Made, Failure> {
    let causes = Causes::collect();
    let spec = load(directory)?;
    let process = spec::exec_process(&spec, exec).map_err(|error| other(error.to_string()))?;
    streams.give_to(process.user().uid());
    let filter = match std::fs::read(directory.join(FILTER)) {
        Ok(bytes) if !exec.privileged => {
            Some(serde_json::from_slice(&bytes).map_err(|error| other(error.to_string()))?)
        }
        _ => None,
    };
    let file = directory.join(format!("process-{}.json", std::process::id()));
    match &filter {
        Some(_) => write_json(&file, &widened(&process))?,
        None => write_json(&file, &process)?,
    }
    let built = streams
        .apply(builder(Launcher::new(&process, filter, None)))
        .with_root_path(directory)
        .map_err(failure)?
        .as_tenant()
        .with_sub_cgroup(first_process_cgroup(directory, &spec))
        .with_detach(true)
        .with_process(Some(file.clone()))
        .build()
        .map_err(|error| explained(error, causes.as_ref()))
        .map_err(|failure| without_directory(failure, process.cwd()));
    let _ = std::fs::remove_file(file);
    built.map(|pid| Made {
        pid: pid.as_raw(),
        uid: process.user().uid(),
    })
}

/// Tells of an exec's working directory that is not there as runc does, whose words
/// clients take for a command that is not found.
fn without_directory(failure: Failure, directory: &Path) -> Failure {
    if !failure.message.contains("failed to chdir (e: ENOENT)") {
        return failure;
    }
    Failure {
        kind: FailureKind::CommandNotFound,
        message: format!("chdir to cwd ({directory:?}) failed: no such file or directory"),
    }
}

/// Returns the cgroup of the container's first process below the container's
/// own, where it has gone to one: an init with services divides its cgroup, and
/// one that is divided takes no process (cgroup-v2.rst, "No Internal Process
/// Constraint").
fn first_process_cgroup(directory: &Path, spec: &Spec) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct State {
        pid: i32,
    }
    let state = std::fs::read(directory.join(NAME).join("state.json")).ok()?;
    let State { pid } = serde_json::from_slice(&state).ok()?;
    let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = membership
        .lines()
        .find_map(|line| line.strip_prefix("0::"))?;
    let own = spec.linux().as_ref()?.cgroups_path().as_ref()?;
    let below = Path::new(path).strip_prefix(own).ok()?.to_str()?;
    Some(below.to_owned()).filter(|below| !below.is_empty())
}

/// Returns the process with what the launcher needs for its filter, and drops
/// again once that is loaded.
fn widened(process: &Process) -> Process {
    let mut process = process.clone();
    // With no_new_privs no capability is needed.
    if process.no_new_privileges() != Some(true) {
        let sets = process
            .capabilities()
            .as_ref()
            .map(with_loader_capabilities);
        process.set_capabilities(sets);
    }
    process
}

/// What loading a seccomp profile without no_new_privs needs (seccomp(2)), and
/// dropping it from the bounding set afterwards (capabilities(7)).
fn with_loader_capabilities(sets: &LinuxCapabilities) -> LinuxCapabilities {
    use libcontainer::oci_spec::runtime::Capability::{Setpcap, SysAdmin};
    let mut sets = sets.clone();
    let widen = |set: &Option<std::collections::HashSet<_>>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend([SysAdmin, Setpcap]);
        Some(set)
    };
    let (bounding, effective, permitted) = (
        widen(sets.bounding()),
        widen(sets.effective()),
        widen(sets.permitted()),
    );
    sets.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    sets
}

fn builder(launcher: Launcher) -> ContainerBuilder {
    ContainerBuilder::new(NAME.to_owned(), SyscallType::default()).with_executor(launcher)
}

fn load(directory: &Path) -> Result<Spec, Failure> {
    Spec::load(directory.join(CONFIG)).map_err(|error| other(error.to_string()))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), Failure> {
    serde_json::to_vec(value)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(path, bytes))
        .map_err(|error| other(format!("writing {}: {error}", path.display())))
}

fn other(message: String) -> Failure {
    Failure {
        kind: FailureKind::Other,
        message,
    }
}

/// A failure with what libcontainer traced of it, where it is none of the
/// launcher's, which says all itself.
fn explained(error: LibcontainerError, causes: Option<&Causes>) -> Failure {
    let mut failure = failure(error);
    if let (FailureKind::Other, Some(causes)) = (failure.kind, causes) {
        failure.message = causes.explain(&failure.message).replace('\0', "");
    }
    failure
}

/// Finds the launcher's own words in what libcontainer made of them.
fn failure(error: LibcontainerError) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    drop(error);
    executor::classify(&text.replace('\0', ""))
}
