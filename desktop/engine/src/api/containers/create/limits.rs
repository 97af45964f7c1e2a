//! What a description allows a container.

use bollard_stubs::models::{
    DeviceMapping, HealthConfig, HostConfig, ResourcesBlkioWeightDevice, RestartPolicy,
    ThrottleDevice as ApiThrottle,
};
use wherry_proto::v1::{Device, HealthCheck, Resources, ThrottleDevice, WeightDevice};

use crate::api::error::{ApiError, Result};

/// Translates the limits of a container.
///
/// # Errors
///
/// 400 for a number out of its range.
pub(in crate::api::containers) fn resources(host: &HostConfig) -> Result<Resources> {
    Ok(Resources {
        memory: unsigned("Memory", host.memory)?,
        nano_cpus: unsigned("NanoCpus", host.nano_cpus)?,
        // Docker's -1 and 0 are no limit.
        pids: host
            .pids_limit
            .and_then(|limit| u64::try_from(limit).ok())
            .unwrap_or_default(),
        memory_swap: host.memory_swap.unwrap_or_default(),
        memory_reservation: unsigned("MemoryReservation", host.memory_reservation)?,
        cpu_shares: unsigned("CpuShares", host.cpu_shares)?,
        cpuset_cpus: host.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: host.cpuset_mems.clone().unwrap_or_default(),
        cpu_period: unsigned("CpuPeriod", host.cpu_period)?,
        cpu_quota: host.cpu_quota.unwrap_or_default(),
        blkio_weight: host.blkio_weight.unwrap_or_default().into(),
        blkio_weight_devices: weights(host.blkio_weight_device.as_ref())?,
        device_read_bps: throttles(host.blkio_device_read_bps.as_ref())?,
        device_write_bps: throttles(host.blkio_device_write_bps.as_ref())?,
        device_read_iops: throttles(host.blkio_device_read_iops.as_ref())?,
        device_write_iops: throttles(host.blkio_device_write_iops.as_ref())?,
    })
}

fn weights(devices: Option<&Vec<ResourcesBlkioWeightDevice>>) -> Result<Vec<WeightDevice>> {
    let weight = |device: &ResourcesBlkioWeightDevice| {
        let weight = device.weight.unwrap_or_default();
        Ok(WeightDevice {
            path: device.path.clone().unwrap_or_default(),
            weight: u32::try_from(weight)
                .map_err(|_| ApiError::bad_request(format!("Weight {weight} is out of range")))?,
        })
    };
    devices.into_iter().flatten().map(weight).collect()
}

fn throttles(devices: Option<&Vec<ApiThrottle>>) -> Result<Vec<ThrottleDevice>> {
    let throttle = |device: &ApiThrottle| {
        Ok(ThrottleDevice {
            path: device.path.clone().unwrap_or_default(),
            rate: unsigned("Rate", device.rate)?,
        })
    };
    devices.into_iter().flatten().map(throttle).collect()
}

pub(super) fn device(device: DeviceMapping) -> Device {
    Device {
        path: device.path_on_host.unwrap_or_default(),
        target: device.path_in_container.unwrap_or_default(),
        permissions: device.cgroup_permissions.unwrap_or_default(),
    }
}

/// Returns a restart policy's name, and its retries.
///
/// # Errors
///
/// 400 for retries that are no number of attempts.
pub(in crate::api::containers) fn restart(policy: Option<&RestartPolicy>) -> Result<(String, u32)> {
    let Some(policy) = policy else {
        return Ok(Default::default());
    };
    let name = policy
        .name
        .map_or_else(String::new, |name| name.to_string());
    Ok((
        name,
        number("MaximumRetryCount", policy.maximum_retry_count)?,
    ))
}

pub(in crate::api::containers) fn health_check(check: HealthConfig) -> Result<HealthCheck> {
    Ok(HealthCheck {
        test: check.test.unwrap_or_default(),
        interval_ns: unsigned("Interval", check.interval)?,
        timeout_ns: unsigned("Timeout", check.timeout)?,
        start_period_ns: unsigned("StartPeriod", check.start_period)?,
        start_interval_ns: unsigned("StartInterval", check.start_interval)?,
        retries: number("Retries", check.retries)?,
    })
}

pub(super) fn unsigned(name: &str, value: Option<i64>) -> Result<u64> {
    number(name, value)
}

pub(super) fn number<T: TryFrom<i64> + Default>(name: &str, value: Option<i64>) -> Result<T> {
    let Some(value) = value else {
        return Ok(T::default());
    };
    T::try_from(value)
        .map_err(|_| ApiError::bad_request(format!("invalid {name}: {value} is out of range")))
}
