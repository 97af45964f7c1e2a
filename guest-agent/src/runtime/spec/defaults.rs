//! Docker's defaults: mounts, devices, masked paths.

use libcontainer::oci_spec::runtime::{
    LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, Mount, MountBuilder,
};

use super::{ContainerDescription, SpecError, words};

/// Where commands are looked for when the image does not say.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's 64 MiB.
const SHM_SIZE: u64 = 64 * 1024 * 1024;

pub(super) fn mounts(description: &ContainerDescription) -> Result<Vec<Mount>, SpecError> {
    let shm_size = match description.shm_size {
        0 => SHM_SIZE,
        size => size,
    };
    let shm_size = format!("size={shm_size}");
    let sys = if description.privileged { "rw" } else { "ro" };
    let cgroup = if description.delegated { "rw" } else { sys };
    let table: [(&str, &str, &[&str]); 7] = [
        ("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        (
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        (
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        (
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", cgroup],
        ),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        (
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm_size],
        ),
    ];
    table
        .into_iter()
        .filter(|(target, ..)| !(description.no_shm && *target == "/dev/shm"))
        .map(|(target, kind, options)| {
            let source = if target == "/dev/shm" { "shm" } else { kind };
            Ok(MountBuilder::default()
                .destination(target)
                .typ(kind)
                .source(source)
                .options(words(options))
                .build()?)
        })
        .collect()
}

/// The cgroup's device rules: everything denied, then Docker's list. The
/// runtime makes the device nodes of the OCI specification by itself.
pub(super) fn device_rules(privileged: bool) -> Result<Vec<LinuxDeviceCgroup>, SpecError> {
    let everything = LinuxDeviceCgroupBuilder::default()
        .allow(privileged)
        .access("rwm")
        .build()?;
    let mut rules = vec![everything];
    if privileged {
        return Ok(rules);
    }
    // Nodes of any device may be made, not opened.
    for kind in [LinuxDeviceType::C, LinuxDeviceType::B] {
        let rule = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(kind)
            .access("m")
            .build()?;
        rules.push(rule);
    }
    let devices: [(i64, Option<i64>); 9] = [
        (1, Some(3)), // null
        (1, Some(5)), // zero
        (1, Some(7)), // full
        (1, Some(8)), // random
        (1, Some(9)), // urandom
        (5, Some(0)), // tty
        (5, Some(1)), // console
        (5, Some(2)), // ptmx
        (136, None),  // pts
    ];
    for (major, minor) in devices {
        let mut rule = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(LinuxDeviceType::C)
            .major(major)
            .access("rwm");
        if let Some(minor) = minor {
            rule = rule.minor(minor);
        }
        rules.push(rule.build()?);
    }
    Ok(rules)
}

pub(super) fn masked_paths() -> Vec<String> {
    words(&[
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ])
}

pub(super) fn readonly_paths() -> Vec<String> {
    words(&[
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ])
}
