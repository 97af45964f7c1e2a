//! What a container was asked to be, as `inspect` shows it.

use serde_json::{Map, Value, json};
use wherry_proto::v1::mount::Kind;
use wherry_proto::v1::{ContainerSpec, Device, Mount, ThrottleDevice, Ulimit};

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
    let lists = [
        ("MaskedPaths", &spec.masked_paths),
        ("ReadonlyPaths", &spec.readonly_paths),
    ];
    for (name, list) in lists {
        if let Some(list) = list {
            config[name] = json!(list.paths);
        }
    }
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
    config
}

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
        "BlkioWeightDevice": [],
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "MemorySwappiness": null,
        "OomKillDisable": null,
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
