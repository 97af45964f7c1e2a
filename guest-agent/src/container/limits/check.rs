//! Whether limits can be, said in Docker's words.

use wherry_proto::v1::{Resources, Ulimit};

use super::{NO_LIMIT, device_number, throttled};
use crate::container::error::Error;

/// Less memory than this no container starts with, bytes; Docker's limit.
const LEAST_MEMORY: u64 = 6 * 1024 * 1024;

/// The names of limits on processes, as `ulimit` has them.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Checks limits, in Docker's words.
///
/// # Errors
///
/// [`Error::Invalid`] for the first that cannot be.
pub(in crate::container) fn check(resources: &Resources) -> Result<(), Error> {
    memory(resources)?;
    processors(resources)?;
    if resources.pids > i64::MAX as u64 && resources.pids != NO_LIMIT {
        return invalid("a memory or process limit out of range");
    }
    if resources.blkio_weight != 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    for device in throttled(resources).flat_map(|(_, devices)| devices) {
        device_number(&device.path)?;
    }
    for device in &resources.blkio_weight_devices {
        if !(10..=1000).contains(&device.weight) {
            return invalid(format!(
                "Range of blkio weight is from 10 to 1000, and not {} of {}",
                device.weight, device.path
            ));
        }
        device_number(&device.path)?;
    }
    Ok(())
}

fn memory(resources: &Resources) -> Result<(), Error> {
    let (limit, swap) = (resources.memory, resources.memory_swap);
    let reservation = resources.memory_reservation;
    if limit != 0 && limit < LEAST_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if limit > i64::MAX as u64 || reservation > i64::MAX as u64 || swap < -1 {
        return invalid("a memory or process limit out of range");
    }
    if swap > 0 && limit == 0 {
        return invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    if swap > 0 && swap.unsigned_abs() < limit {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if reservation != 0 && reservation < LEAST_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if limit != 0 && reservation > limit {
        return invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    Ok(())
}

fn processors(resources: &Resources) -> Result<(), Error> {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if resources.nano_cpus > count as u64 * 1_000_000_000 {
        return invalid(format!(
            "range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
        ));
    }
    if resources.nano_cpus != 0 && resources.nano_cpus < 10_000_000 {
        return invalid("the least share of a CPU is 0.01");
    }
    if resources.nano_cpus != 0 && resources.cpu_period != 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set.");
    }
    if resources.nano_cpus != 0 && resources.cpu_quota != 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set.");
    }
    if resources.cpu_period != 0 && !(1000..=1_000_000).contains(&resources.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if resources.cpu_quota > 0 && resources.cpu_quota < 1000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    for (what, wanted, highest) in [
        ("cpus", &resources.cpuset_cpus, count - 1),
        ("mems", &resources.cpuset_mems, 0),
    ] {
        match highest_of(wanted) {
            None => return invalid(format!("Invalid value {wanted} for cpuset {what}")),
            Some(Some(number)) if number > highest => {
                return invalid(format!(
                    "Requested {what} are not available - requested {wanted}, available: 0-{highest}"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Returns the highest number in a list such as `0-2,4`, none for the empty
/// list; `None` for what is no list.
fn highest_of(list: &str) -> Option<Option<usize>> {
    if list.is_empty() {
        return Some(None);
    }
    let mut highest = 0;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last {
            return None;
        }
        highest = highest.max(last);
    }
    Some(Some(highest))
}

/// Checks limits on processes.
///
/// # Errors
///
/// [`Error::Invalid`] for the first that cannot be.
pub(in crate::container) fn check_ulimits(ulimits: &[Ulimit]) -> Result<(), Error> {
    for Ulimit { name, soft, hard } in ulimits {
        if !ULIMITS.contains(&name.as_str()) {
            return invalid(format!("invalid ulimit type: {name}"));
        }
        if *soft < -1 || *hard < -1 {
            return invalid(format!("ulimit {name} is out of range"));
        }
        if *hard != -1 && (*soft == -1 || soft > hard) {
            return invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            ));
        }
    }
    Ok(())
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::{ThrottleDevice, WeightDevice};

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_cannot_be_is_refused_in_dockers_words() {
        let none = Resources::default;
        for (resources, said) in [
            (
                Resources {
                    memory: 1,
                    ..none()
                },
                "Minimum memory limit allowed is 6MB",
            ),
            (
                Resources {
                    memory_swap: 1 << 30,
                    ..none()
                },
                "You should always set the Memory limit",
            ),
            (
                Resources {
                    memory: 64 * MIB,
                    memory_swap: 1 << 20,
                    ..none()
                },
                "Minimum memoryswap limit should be larger",
            ),
            (
                Resources {
                    memory: 64 * MIB,
                    memory_reservation: 65 * MIB,
                    ..none()
                },
                "can not be less than memory reservation",
            ),
            (
                Resources {
                    cpuset_cpus: "2-1".to_owned(),
                    ..none()
                },
                "Invalid value 2-1",
            ),
            (
                Resources {
                    cpuset_cpus: "0,9999".to_owned(),
                    ..none()
                },
                "are not available",
            ),
            (
                Resources {
                    cpu_period: 5,
                    ..none()
                },
                "CPU cfs period",
            ),
            (
                Resources {
                    cpu_quota: 5,
                    ..none()
                },
                "CPU cfs quota",
            ),
            (
                Resources {
                    nano_cpus: 1_000_000_000,
                    cpu_quota: 5000,
                    ..none()
                },
                "Conflicting options",
            ),
            (
                Resources {
                    blkio_weight: 5,
                    ..none()
                },
                "from 10 to 1000",
            ),
            (
                Resources {
                    blkio_weight_devices: vec![WeightDevice {
                        path: "/dev/vda".to_owned(),
                        weight: 1001,
                    }],
                    ..none()
                },
                "from 10 to 1000, and not 1001 of /dev/vda",
            ),
            (
                Resources {
                    device_read_bps: vec![ThrottleDevice {
                        path: "/dev/null".to_owned(),
                        rate: 1,
                    }],
                    ..none()
                },
                "/dev/null is no block device",
            ),
        ] {
            let error = check(&resources).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let ulimit = |name: &str, soft, hard| {
            let name = name.to_owned();
            check_ulimits(&[Ulimit { name, soft, hard }])
        };
        ulimit("nofile", 100, -1).unwrap();
        assert!(
            ulimit("files", 1, 1)
                .unwrap_err()
                .to_string()
                .contains("type: files")
        );
        assert!(ulimit("nofile", 2, 1).is_err());
        assert!(ulimit("nofile", -1, 1).is_err());
    }
}
