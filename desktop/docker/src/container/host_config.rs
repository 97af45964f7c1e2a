//! What a container was asked to be, as `inspect` shows it.

use serde_json::{Map, Value, json};
use wherry_proto::v1::mount::Kind;
use wherry_proto::v1::{ContainerSpec, Device, Mount, ThrottleDevice, Ulimit, WeightDevice};

use super::{mount_source, port_map};
use crate::{omit_empty, or_null};

/// Returns what `docker inspect` has as `HostConfig`.
pub(super) fn host_config(spec: &ContainerSpec) -> Value {
    let binds: Vec<String> = spec
        .mounts
        .iter()
        // A volume without a name is told among the volumes of the configuration.
        .filter(|mount| mount.kind() != Kind::Tmpfs && !mount_source(mount).is_empty())
        .filter(|mount| mount.volume_subpath.is_empty())
        .map(|mount| {
            let read_only = if mount.read_only { ":ro" } else { "" };
            format!("{}:{}{read_only}", mount_source(mount), mount.target)
        })
        .collect();
    let mut config = json!({
        "Binds": or_null(binds),
        "VolumesFrom": or_null(json!(spec.volumes_from)),
        "NetworkMode": crate::network::mode(spec),
        "PortBindings": port_map(&spec.ports),
        "PublishAllPorts": spec.publish_all,
        "RestartPolicy": {
            "Name": match spec.restart_policy.as_str() { "" => "no", name => name },
            "MaximumRetryCount": spec.restart_retries,
        },
        "AutoRemove": spec.auto_remove,
        "CapAdd": or_null(json!(spec.cap_add)),
        "CapDrop": or_null(json!(spec.cap_drop)),
        "Dns": spec.dns,
        "DnsOptions": spec.dns_options,
        "DnsSearch": spec.dns_search,
        "ExtraHosts": or_null(json!(spec.extra_hosts)),
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": or_null(json!(spec.security_opt)),
        "PidMode": spec.pid_mode,
        "IpcMode": match spec.ipc_mode.as_str() { "" => "private", mode => mode },
        "UTSMode": spec.uts_mode,
        "CgroupnsMode": match spec.cgroupns_mode.as_str() { "" => "private", mode => mode },
        "DeviceCgroupRules": or_null(json!(spec.device_cgroup_rules)),
        "Annotations": spec.annotations,
        "LogConfig": log_config(spec),
        "Tmpfs": spec.mounts.iter().filter_map(tmpfs).collect::<Map<_, _>>(),
        "UsernsMode": "",
        "ShmSize": match spec.shm_size { 0 => 64 << 20, size => size },
        "Sysctls": spec.sysctls,
        "GroupAdd": or_null(json!(spec.group_add)),
        "Devices": spec.devices.iter().map(device).collect::<Vec<_>>(),
        "Init": spec.init,
    });
    // What a bind in the short form cannot say.
    let mounts: Vec<Value> = spec.mounts.iter().filter_map(subpath).collect();
    if !mounts.is_empty() {
        config["Mounts"] = mounts.into();
    }
    omit_empty(&mut config, &["Annotations", "Tmpfs", "Sysctls", "Init"]);
    if let (Value::Object(config), Value::Object(limits)) = (&mut config, limits(spec)) {
        config.extend(limits);
    }
    if let (Value::Object(config), Value::Object(absent)) = (&mut config, absent()) {
        config.extend(absent);
    }
    let lists = [
        ("MaskedPaths", &spec.masked_paths),
        ("ReadonlyPaths", &spec.readonly_paths),
    ];
    for (name, list) in lists {
        match list {
            Some(list) => config[name] = json!(list.paths),
            // Nothing is kept from it.
            None if spec.privileged => config[name] = Value::Null,
            None => {}
        }
    }
    tell_as_given(&mut config, spec);
    config
}

/// What Docker tells as the client wrote it, `null` where it wrote nothing.
const AS_GIVEN: [&str; 29] = [
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "CgroupParent",
    "ConsoleSize",
    "ContainerIDFile",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "MemorySwappiness",
    "OomKillDisable",
    "PortBindings",
    "Runtime",
    "SecurityOpt",
    "Ulimits",
    "UsernsMode",
    "VolumeDriver",
    "VolumesFrom",
];

/// As [`AS_GIVEN`], and left out where it is empty.
const AS_GIVEN_OR_NOT: [&str; 6] = [
    "Annotations",
    "Init",
    "Mounts",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
];

/// Replaces what was made of the engine's own description by what a client of Docker's
/// API wrote, which says more: in which form a mount was asked for, say.
fn tell_as_given(config: &mut Value, spec: &ContainerSpec) {
    let Some(mut given) = given(spec) else { return };
    let host = given["HostConfig"].take();
    let field = |name: &str| host.get(name).cloned().unwrap_or_default();
    for name in AS_GIVEN {
        let value = field(name);
        // Text and sizes have no null in Go; and a rate may have been set since.
        let set = config[name].as_array().is_some_and(|list| !list.is_empty());
        let keeps = match &config[name] {
            Value::String(_) => true,
            Value::Array(_) => name == "ConsoleSize" || (set && name.starts_with("Blkio")),
            _ => false,
        };
        if !(value.is_null() && keeps) {
            config[name] = value;
        }
    }
    for name in AS_GIVEN_OR_NOT {
        config[name] = field(name);
    }
    omit_empty(config, &AS_GIVEN_OR_NOT);
}

/// Returns what a client of Docker's API wrote, where one made the container.
pub(super) fn given(spec: &ContainerSpec) -> Option<Value> {
    serde_json::from_str(&spec.docker).ok()
}

/// What Docker hides of a container that says nothing else.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What Docker lets nobody write there.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What Docker has and this engine has not, as Docker shows it unset.
fn absent() -> Value {
    json!({
        "ContainerIDFile": "",
        "CgroupParent": "",
        "Cgroup": "",
        "ConsoleSize": [0, 0],
        "Links": null,
        "VolumeDriver": "",
        "Runtime": "wherry",
        "Isolation": "",
        "DeviceRequests": null,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "MemorySwappiness": null,
        "OomKillDisable": null,
        "MaskedPaths": MASKED,
        "ReadonlyPaths": READ_ONLY,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    })
}

fn limits(spec: &ContainerSpec) -> Value {
    let resources = spec.resources.clone().unwrap_or_default();
    json!({
        "Memory": resources.memory,
        "NanoCpus": resources.nano_cpus,
        "PidsLimit": match resources.pids { 0 => Value::Null, pids => pids.into() },
        "MemorySwap": resources.memory_swap,
        "MemoryReservation": resources.memory_reservation,
        "CpuShares": resources.cpu_shares,
        "CpuPeriod": resources.cpu_period,
        "CpuQuota": resources.cpu_quota,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "BlkioWeight": resources.blkio_weight,
        "BlkioWeightDevice": resources.blkio_weight_devices.iter().map(weighed).collect::<Vec<_>>(),
        "BlkioDeviceReadBps": throttled(&resources.device_read_bps),
        "BlkioDeviceWriteBps": throttled(&resources.device_write_bps),
        "BlkioDeviceReadIOps": throttled(&resources.device_read_iops),
        "BlkioDeviceWriteIOps": throttled(&resources.device_write_iops),
        "OomScoreAdj": spec.oom_score_adj,
        "Ulimits": spec.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
    })
}

fn log_config(spec: &ContainerSpec) -> Value {
    let config = spec.log.clone().unwrap_or_default();
    let driver = match config.driver.as_str() {
        "" => "json-file",
        driver => driver,
    };
    json!({"Type": driver, "Config": config.options})
}

fn subpath(mount: &Mount) -> Option<Value> {
    (!mount.volume_subpath.is_empty()).then(|| {
        json!({
            "Type": "volume",
            "Source": mount.source,
            "Target": mount.target,
            "ReadOnly": mount.read_only,
            "VolumeOptions": {"Subpath": mount.volume_subpath},
        })
    })
}

/// A mount of `--tmpfs`; one of `--mount` is among the mounts.
fn tmpfs(mount: &Mount) -> Option<(String, Value)> {
    let given = mount.kind() == Kind::Tmpfs && mount.tmpfs_size == 0 && mount.tmpfs_mode == 0;
    given.then(|| (mount.target.clone(), mount.tmpfs_options.as_str().into()))
}

fn throttled(devices: &[ThrottleDevice]) -> Vec<Value> {
    let device = |device: &ThrottleDevice| json!({"Path": device.path, "Rate": device.rate});
    devices.iter().map(device).collect()
}

fn weighed(device: &WeightDevice) -> Value {
    json!({"Path": device.path, "Weight": device.weight})
}

fn device(device: &Device) -> Value {
    let or = |text: &str, otherwise: &str| match text {
        "" => otherwise.to_owned(),
        text => text.to_owned(),
    };
    json!({
        "PathOnHost": device.path,
        "PathInContainer": or(&device.target, &device.path),
        "CgroupPermissions": or(&device.permissions, "rwm"),
    })
}

fn ulimit(limit: &Ulimit) -> Value {
    json!({"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard})
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::PathList;

    #[test]
    fn what_a_client_wrote_is_told_as_it_was() {
        let wrote = json!({
            "Binds": ["/srv:/data:rw,z"],
            "Mounts": [{"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"NoCopy": true}}],
            "ConsoleSize": [24, 80],
            "Dns": [],
            "MaskedPaths": [],
            "OomKillDisable": false,
            "Memory": 5,
        });
        let spec = ContainerSpec {
            docker: json!({ "HostConfig": wrote }).to_string(),
            masked_paths: Some(PathList::default()),
            ..ContainerSpec::default()
        };
        let told = host_config(&spec);
        for name in ["Binds", "Mounts", "ConsoleSize", "Dns", "MaskedPaths"] {
            assert_eq!(told[name], wrote[name], "{name}");
        }
        // What was not said is null, and what may have changed since is told as it is.
        let silent = [&told["DnsSearch"], &told["PortBindings"], &told["Devices"]];
        assert_eq!(silent, [&Value::Null; 3]);
        assert_eq!(told["Memory"], 0);
        assert_eq!(told.get("Tmpfs"), None);
        assert_eq!(
            (&told["CgroupParent"], &told["Runtime"]),
            (&json!(""), &json!("wherry"))
        );
    }

    #[test]
    fn what_no_client_of_dockers_made_is_told_by_the_engine() {
        let told = host_config(&ContainerSpec::default());
        assert_eq!((&told["Dns"], &told["Binds"]), (&json!([]), &Value::Null));
        assert_eq!(told["MaskedPaths"].as_array().map(Vec::len), Some(12));
    }
}
