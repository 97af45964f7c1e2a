//! From a description of a container to an OCI runtime specification, with
//! Docker's defaults. Pure: nothing here looks at the machine.

mod capabilities;
mod defaults;
mod description;
mod seccomp;
mod security;
#[cfg(test)]
mod tests;

use libcontainer::oci_spec::runtime::{
    Box as ConsoleSize, BoxBuilder as ConsoleSizeBuilder, LinuxBuilder, LinuxCapabilities,
    LinuxCapabilitiesBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxResources, LinuxResourcesBuilder, Mount, MountBuilder, PosixRlimit,
    PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    User as SpecUser, UserBuilder,
};

pub(crate) use description::{
    ContainerDescription, Device, DeviceRule, MountKind, MountPoint, Namespace, NetworkNamespace,
    SpecError, User,
};

use super::protocol::{ExecSpec, TerminalSize};

/// Returns the specification of a container.
///
/// # Errors
///
/// [`SpecError`] for what the user can have written wrongly.
pub(crate) fn container(description: &ContainerDescription) -> Result<Spec, SpecError> {
    if description.args.is_empty() {
        return Err(SpecError::NoCommand);
    }
    let security = security::parse(&description.security_opt)?;
    let capabilities = capabilities::resolve(
        description.privileged,
        &description.cap_add,
        &description.cap_drop,
    )?;

    let mut linux = LinuxBuilder::default()
        .cgroups_path(description.cgroup.clone())
        .namespaces(namespaces(description)?)
        .resources(resources(description)?)
        .build()?;
    if description.privileged {
        linux.set_masked_paths(None).set_readonly_paths(None);
    } else {
        let masked = description.masked_paths.clone();
        let read_only = description.readonly_paths.clone();
        linux
            .set_masked_paths(Some(masked.unwrap_or_else(defaults::masked_paths)))
            .set_readonly_paths(Some(read_only.unwrap_or_else(defaults::readonly_paths)))
            .set_seccomp(security.seccomp.resolve(&capabilities)?);
    }

    if !description.devices.is_empty() {
        linux.set_devices(Some(devices(description)?));
    }
    if !description.sysctls.is_empty() {
        linux.set_sysctl(Some(description.sysctls.clone()));
    }
    let process = process(description, capabilities, security.no_new_privileges)?;
    let mut spec = SpecBuilder::default()
        .version("1.0.2")
        .root(
            RootBuilder::default()
                .path(description.rootfs.clone())
                .readonly(description.read_only)
                .build()?,
        )
        .hostname(description.hostname.clone())
        .mounts(mounts(description)?)
        .process(process)
        .linux(linux)
        .build()?;
    if description.hostname.is_empty() || description.uts != Namespace::New {
        spec.set_hostname(None);
    }
    if !description.domainname.is_empty() {
        spec.set_domainname(Some(description.domainname.clone()));
    }
    if !description.annotations.is_empty() {
        spec.set_annotations(Some(description.annotations.clone()));
    }
    Ok(spec)
}

/// Returns the process of an exec, given its container's specification.
///
/// # Errors
///
/// [`SpecError::NoCommand`], [`SpecError::RelativePath`].
pub(crate) fn exec_process(spec: &Spec, exec: &ExecSpec) -> Result<Process, SpecError> {
    if exec.args.is_empty() {
        return Err(SpecError::NoCommand);
    }
    let mut process = spec.process().clone().unwrap_or_default();
    let mut env = process.env().clone().unwrap_or_default();
    if exec.terminal {
        set_default(&mut env, "TERM", "xterm");
    }
    for entry in &exec.env {
        set(&mut env, entry);
    }
    if let Some(cwd) = exec.cwd.as_deref().filter(|cwd| !cwd.is_empty()) {
        process.set_cwd(absolute(cwd)?.into());
    }
    if let Some(user) = &exec.user {
        process.set_user(spec_user(user)?);
    }
    if exec.privileged {
        process.set_capabilities(Some(capability_sets(capabilities::all())?));
    }
    process
        .set_args(Some(exec.args.clone()))
        .set_env(Some(env))
        .set_terminal(Some(exec.terminal))
        .set_console_size(exec.terminal_size.map(console_size).transpose()?);
    Ok(process)
}

fn process(
    description: &ContainerDescription,
    capabilities: capabilities::Set,
    no_new_privileges: bool,
) -> Result<Process, SpecError> {
    let cwd = if description.cwd.is_empty() {
        "/"
    } else {
        absolute(&description.cwd)?
    };
    let mut env = description.env.clone();
    set_default(&mut env, "PATH", defaults::PATH);
    set_default(&mut env, "HOSTNAME", &description.hostname);
    if description.terminal {
        set_default(&mut env, "TERM", "xterm");
    }
    let mut process = ProcessBuilder::default()
        .args(description.args.clone())
        .env(env)
        .cwd(cwd)
        .user(spec_user(&description.user)?)
        .terminal(description.terminal)
        .capabilities(capability_sets(capabilities)?)
        .oom_score_adj(description.oom_score_adj)
        .no_new_privileges(no_new_privileges)
        .build()?;
    process.set_rlimits(rlimits(description)?);
    // Absent and `false` differ: libcontainer loads the seccomp profile before
    // it drops the capabilities only where it is absent, and without
    // no_new_privs it cannot load it afterwards.
    if !no_new_privileges {
        process.set_no_new_privileges(None);
    }
    process.set_console_size(description.terminal_size.map(console_size).transpose()?);
    Ok(process)
}

fn console_size(size: TerminalSize) -> Result<ConsoleSize, SpecError> {
    Ok(ConsoleSizeBuilder::default()
        .height(size.rows)
        .width(size.columns)
        .build()?)
}

/// Docker's arrangement since 20.10: nothing inheritable, nothing ambient.
fn capability_sets(set: capabilities::Set) -> Result<LinuxCapabilities, SpecError> {
    let mut sets = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .build()?;
    sets.set_inheritable(None);
    sets.set_ambient(None);
    Ok(sets)
}

fn spec_user(user: &User) -> Result<SpecUser, SpecError> {
    let mut built = UserBuilder::default().uid(user.uid).gid(user.gid).build()?;
    if !user.additional_gids.is_empty() {
        built.set_additional_gids(Some(user.additional_gids.clone()));
    }
    Ok(built)
}

fn namespaces(description: &ContainerDescription) -> Result<Vec<LinuxNamespace>, SpecError> {
    let mut namespaces = Vec::new();
    for (kind, wanted) in [
        (LinuxNamespaceType::Pid, &description.pid),
        (LinuxNamespaceType::Ipc, &description.ipc),
        (LinuxNamespaceType::Uts, &description.uts),
        (LinuxNamespaceType::Mount, &Namespace::New),
        (LinuxNamespaceType::Cgroup, &description.cgroup_namespace),
    ] {
        let namespace = LinuxNamespaceBuilder::default().typ(kind);
        match wanted {
            Namespace::New => namespaces.push(namespace.build()?),
            Namespace::Path(path) => namespaces.push(namespace.path(path.clone()).build()?),
            Namespace::Host => {}
        }
    }
    let network_namespace = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network);
    match &description.network {
        NetworkNamespace::New => namespaces.push(network_namespace.build()?),
        NetworkNamespace::Path(path) => {
            namespaces.push(network_namespace.path(path.clone()).build()?);
        }
        NetworkNamespace::Host => {}
    }
    Ok(namespaces)
}

/// Device rules alone: limits are written to the cgroup before the start.
fn resources(description: &ContainerDescription) -> Result<LinuxResources, SpecError> {
    Ok(LinuxResourcesBuilder::default()
        .devices(device_rules(description)?)
        .build()?)
}

fn device_rules(description: &ContainerDescription) -> Result<Vec<LinuxDeviceCgroup>, SpecError> {
    let mut rules = defaults::device_rules(description.privileged)?;
    for device in &description.devices {
        let rule = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(device_type(device))
            .major(i64::from(device.major))
            .minor(i64::from(device.minor))
            .access(device.permissions.clone());
        rules.push(rule.build()?);
    }
    for rule in &description.device_rules {
        rules.push(device_rule(rule)?);
    }
    Ok(rules)
}

fn device_rule(rule: &DeviceRule) -> Result<LinuxDeviceCgroup, SpecError> {
    let kind = match rule.kind {
        'b' => LinuxDeviceType::B,
        'c' => LinuxDeviceType::C,
        _ => LinuxDeviceType::A,
    };
    let mut built = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(kind)
        .access(rule.access.clone());
    if let Some(major) = rule.major {
        built = built.major(i64::from(major));
    }
    if let Some(minor) = rule.minor {
        built = built.minor(i64::from(minor));
    }
    Ok(built.build()?)
}

fn devices(description: &ContainerDescription) -> Result<Vec<LinuxDevice>, SpecError> {
    let devices = description.devices.iter().map(|device| {
        Ok(LinuxDeviceBuilder::default()
            .path(absolute(&device.target)?)
            .typ(device_type(device))
            .major(i64::from(device.major))
            .minor(i64::from(device.minor))
            .file_mode(device.mode)
            .uid(device.uid)
            .gid(device.gid)
            .build()?)
    });
    devices.collect()
}

fn device_type(device: &Device) -> LinuxDeviceType {
    if device.block {
        LinuxDeviceType::B
    } else {
        LinuxDeviceType::C
    }
}

/// Docker sets none by itself: a container inherits the daemon's, here the shim's.
fn rlimits(description: &ContainerDescription) -> Result<Option<Vec<PosixRlimit>>, SpecError> {
    let mut limits = Vec::new();
    for limit in &description.ulimits {
        let Ok(kind) = format!("RLIMIT_{}", limit.name.to_uppercase()).parse::<PosixRlimitType>()
        else {
            return Err(SpecError::Ulimit(limit.name.clone()));
        };
        // -1 is the kernel's RLIM_INFINITY.
        let limit = PosixRlimitBuilder::default()
            .typ(kind)
            .soft(limit.soft as u64)
            .hard(limit.hard as u64);
        limits.push(limit.build()?);
    }
    Ok(Some(limits).filter(|limits| !limits.is_empty()))
}

fn mounts(description: &ContainerDescription) -> Result<Vec<Mount>, SpecError> {
    let mut mounts = defaults::mounts(description)?;
    mounts.retain(|mount| {
        !description
            .mounts
            .iter()
            .any(|own| mount.destination().as_os_str() == own.target.trim_end_matches('/'))
    });
    for mount in &description.mounts {
        mounts.push(mount_point(mount)?);
    }
    Ok(mounts)
}

fn mount_point(mount: &MountPoint) -> Result<Mount, SpecError> {
    let access = if mount.read_only { "ro" } else { "rw" };
    let builder = MountBuilder::default().destination(absolute(&mount.target)?);
    Ok(match &mount.kind {
        MountKind::Bind(source) => builder
            .typ("bind")
            .source(source.clone())
            .options(words(&["rbind", "rprivate", access]))
            .build()?,
        MountKind::Tmpfs(options) => {
            // Docker's defaults for --tmpfs, which the user's own options follow.
            let mut all = words(&["noexec", "nosuid", "nodev", access]);
            all.extend(options.iter().cloned());
            builder.typ("tmpfs").source("tmpfs").options(all).build()?
        }
    })
}

fn absolute(path: &str) -> Result<&str, SpecError> {
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(SpecError::RelativePath(path.to_owned()))
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn key(entry: &str) -> &str {
    entry.split('=').next().unwrap_or(entry)
}

fn set(env: &mut Vec<String>, entry: &str) {
    env.retain(|present| key(present) != key(entry));
    // `KEY` without a value takes it away, as in Docker.
    if entry.contains('=') {
        env.push(entry.to_owned());
    }
}

fn set_default(env: &mut Vec<String>, name: &str, value: &str) {
    if !env.iter().any(|entry| key(entry) == name) {
        env.push(format!("{name}={value}"));
    }
}
