//! What a container may use: checked, and written to its cgroup (version 2).

mod check;
mod weight;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use wherry_proto::v1::{Resources, ThrottleDevice};

pub(super) use check::{check, check_ulimits};
pub(super) use weight::Weights;

use super::error::Error;
use crate::runtime::Cgroup;

/// [`Resources::pids`] of an update that lifts the limit.
const NO_LIMIT: u64 = u64::MAX;

/// Returns what of an update is given over what there was.
pub(super) fn merged(known: &Resources, update: &Resources) -> Resources {
    fn or<T: Default + PartialEq>(update: T, known: T) -> T {
        if update == T::default() {
            known
        } else {
            update
        }
    }
    let (update, known) = (update.clone(), known.clone());
    let by_time = update.cpu_period != 0 || update.cpu_quota != 0;
    let by_number = update.nano_cpus != 0;
    Resources {
        memory: or(update.memory, known.memory),
        memory_swap: or(update.memory_swap, known.memory_swap),
        memory_reservation: or(update.memory_reservation, known.memory_reservation),
        nano_cpus: or(update.nano_cpus, if by_time { 0 } else { known.nano_cpus }),
        cpu_period: or(
            update.cpu_period,
            if by_number { 0 } else { known.cpu_period },
        ),
        cpu_quota: or(
            update.cpu_quota,
            if by_number { 0 } else { known.cpu_quota },
        ),
        cpu_shares: or(update.cpu_shares, known.cpu_shares),
        cpuset_cpus: or(update.cpuset_cpus, known.cpuset_cpus),
        cpuset_mems: or(update.cpuset_mems, known.cpuset_mems),
        pids: match or(update.pids, known.pids) {
            NO_LIMIT => 0,
            pids => pids,
        },
        blkio_weight: or(update.blkio_weight, known.blkio_weight),
        ..known
    }
}

/// Returns the files of a cgroup and what is written to them (cgroup-v2.rst).
fn settings(resources: &Resources) -> Result<Vec<(&'static str, String)>, Error> {
    let or_max = |number: u64| match number {
        0 => "max".to_owned(),
        number => number.to_string(),
    };
    let swap = match (resources.memory, resources.memory_swap) {
        (0, _) | (_, -1) => "max".to_owned(),
        // Docker's default: as much again.
        (memory, 0) => memory.to_string(),
        (memory, both) => both.unsigned_abs().saturating_sub(memory).to_string(),
    };
    let period = match resources.cpu_period {
        0 => 100_000,
        period => period,
    };
    let quota = match (resources.nano_cpus, resources.cpu_quota) {
        (0, 0) | (0, i64::MIN..0) => "max".to_owned(),
        (0, quota) => quota.to_string(),
        // The kernel takes no less than 1 ms.
        (nano, _) => (nano / 10_000).max(1000).to_string(),
    };
    let mut settings = vec![
        ("memory.swap.max", swap),
        ("memory.max", or_max(resources.memory)),
        ("memory.low", resources.memory_reservation.to_string()),
        ("cpu.max", format!("{quota} {period}")),
        ("cpu.weight", weight(resources.cpu_shares).to_string()),
        ("pids.max", or_max(resources.pids)),
    ];
    for (file, list) in [
        ("cpuset.cpus", &resources.cpuset_cpus),
        ("cpuset.mems", &resources.cpuset_mems),
    ] {
        if !list.is_empty() {
            settings.push((file, list.clone()));
        }
    }
    for (name, devices) in throttled(resources) {
        for device in devices {
            let (major, minor) = device_number(&device.path)?;
            settings.push(("io.max", format!("{major}:{minor} {name}={}", device.rate)));
        }
    }
    Ok(settings)
}

/// Turns shares, of which 1024 are usual, into a weight, of which 100 is: the
/// curve of runc 1.3 and crun, by which 2 is 1 and 262144 is 10000.
fn weight(shares: u64) -> u64 {
    match shares {
        0 => 100,
        1..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
        }
    }
}

fn throttled(resources: &Resources) -> impl Iterator<Item = (&'static str, &[ThrottleDevice])> {
    [
        ("rbps", &resources.device_read_bps[..]),
        ("wbps", &resources.device_write_bps[..]),
        ("riops", &resources.device_read_iops[..]),
        ("wiops", &resources.device_write_iops[..]),
    ]
    .into_iter()
}

fn device_number(path: &str) -> Result<(u32, u32), Error> {
    let found = fs::metadata(path).ok();
    let number = found
        .filter(|file| file.file_type().is_block_device())
        .map(|file| (libc::major(file.rdev()), libc::minor(file.rdev())));
    number.ok_or_else(|| Error::Invalid(format!("{path} is no block device of the machine")))
}

/// Writes a container's limits to its cgroup.
///
/// # Errors
///
/// Those of the kernel, with the file that it refuses.
pub(super) fn apply(cgroup: &Cgroup, resources: &Resources) -> Result<(), Error> {
    for (file, value) in settings(resources)? {
        write(cgroup, file, &value)?;
    }
    Ok(())
}

fn write(cgroup: &Cgroup, file: &str, value: &str) -> Result<(), Error> {
    match cgroup.set(file, value) {
        // Somebody's sandbox, where the agent runs as a plain process.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::debug!("this kernel has no {file}: the limit does not apply");
            Ok(())
        }
        result => {
            result.map_err(|error| Error::io(format!("setting the limit {file} to {value}"), error))
        }
    }
}

/// Returns what the user should know of limits that this kernel does not have.
pub(super) fn warnings(weights: &Weights, resources: &Resources) -> Vec<String> {
    let mut warnings = Vec::new();
    if weight::is_given(resources) && !weights.are_known() {
        for (given, what) in [
            (
                resources.blkio_weight != 0,
                "Block I/O weight or the cgroup is not mounted. Weight discarded.",
            ),
            (
                !resources.blkio_weight_devices.is_empty(),
                "Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
            ),
        ] {
            if given {
                warnings.push(format!("Your kernel does not support {what}"));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn setting(resources: &Resources, file: &str) -> String {
        let settings = settings(resources).unwrap();
        let found = settings.into_iter().find(|(name, _)| *name == file);
        found.map(|(_, value)| value).unwrap_or_default()
    }

    #[test]
    fn limits_become_cgroup_settings() {
        let limited = Resources {
            memory: 64 * MIB,
            nano_cpus: 1_500_000_000,
            pids: 10,
            cpu_shares: 1024,
            cpuset_cpus: "0".to_owned(),
            memory_reservation: 32 * MIB,
            ..Resources::default()
        };
        for (file, value) in [
            ("memory.max", "67108864"),
            ("memory.swap.max", "67108864"),
            ("memory.low", "33554432"),
            ("cpu.max", "150000 100000"),
            ("cpu.weight", "100"),
            ("cpuset.cpus", "0"),
            ("pids.max", "10"),
        ] {
            assert_eq!(setting(&limited, file), value, "{file}");
        }
        let none = Resources::default();
        for (file, value) in [
            ("memory.max", "max"),
            ("memory.swap.max", "max"),
            ("cpu.max", "max 100000"),
            ("pids.max", "max"),
        ] {
            assert_eq!(setting(&none, file), value, "{file}");
        }
    }

    #[test]
    fn swap_counts_with_memory() {
        let swap = |memory_swap| {
            let resources = Resources {
                memory: 64 * MIB,
                memory_swap,
                ..Resources::default()
            };
            setting(&resources, "memory.swap.max")
        };
        assert_eq!(swap(-1), "max");
        assert_eq!(swap(64 * MIB as i64), "0");
        assert_eq!(swap(96 * MIB as i64), (32 * MIB).to_string());
    }

    #[test]
    fn shares_are_weights_between_their_ends() {
        assert_eq!(
            [0, 1, 2, 1024, 262_144].map(weight),
            [100, 1, 1, 100, 10_000]
        );
        assert!(weight(512) < 100 && weight(2048) > 100);
    }

    #[test]
    fn an_update_changes_only_what_it_names() {
        let known = Resources {
            memory: 64 * MIB,
            nano_cpus: 500_000_000,
            pids: 7,
            ..Resources::default()
        };
        let update = Resources {
            cpu_quota: 5000,
            pids: NO_LIMIT,
            ..Resources::default()
        };
        let merged = merged(&known, &update);
        assert_eq!((merged.memory, merged.nano_cpus), (64 * MIB, 0));
        assert_eq!((merged.cpu_quota, merged.pids), (5000, 0));
    }
}
