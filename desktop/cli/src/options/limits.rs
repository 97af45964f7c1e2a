//! What a container may use.

use std::ops::RangeInclusive;

use wherry_client::size;
use wherry_proto::v1::{Resources, ThrottleDevice, Ulimit, WeightDevice};

use super::number::{parse_cpus, parse_memory, parse_pids};

/// [`Resources::pids`] of an update that lifts the limit.
const LIFTED: u64 = u64::MAX;

/// The limits that can be given at the start and changed later.
#[derive(clap::Args, Debug)]
pub(crate) struct LimitOptions {
    /// Limit the memory, such as 512m
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,

    /// Limit memory and swap together; -1 is no limit, by default twice the memory
    #[arg(long, value_name = "SIZE", value_parser = parse_swap, allow_hyphen_values = true)]
    memory_swap: Option<i64>,

    /// Memory that is left to the container when memory is short
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory_reservation: Option<u64>,

    /// Limit the processors, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,

    /// The share of processor time when it is short, against the others' 1024
    #[arg(short, long, value_name = "NUMBER")]
    cpu_shares: Option<u64>,

    /// Run on these processors alone, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,

    /// Use the memory of these NUMA nodes alone
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,

    /// The length of a period for --cpu-quota, microseconds
    #[arg(long, value_name = "NUMBER")]
    cpu_period: Option<u64>,

    /// Limit the processor time in each period, microseconds; -1 is no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,

    /// Limit the number of processes; -1 is no limit
    #[arg(long, value_name = "NUMBER", value_parser = parse_pids, allow_hyphen_values = true)]
    pids_limit: Option<u64>,

    /// The share of block I/O when it is short, 10 to 1000, against the others' 500
    #[arg(long, value_name = "NUMBER", value_parser = parse_weight)]
    blkio_weight: Option<u32>,
}

impl LimitOptions {
    /// Returns the limits of a new container.
    pub(crate) fn resources(&self) -> Resources {
        Resources {
            memory: self.memory.unwrap_or(0),
            memory_swap: self.memory_swap.unwrap_or(0),
            memory_reservation: self.memory_reservation.unwrap_or(0),
            nano_cpus: self.cpus.unwrap_or(0),
            cpu_shares: self.cpu_shares.unwrap_or(0),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            cpu_period: self.cpu_period.unwrap_or(0),
            cpu_quota: self.cpu_quota.unwrap_or(0),
            pids: self.pids_limit.unwrap_or(0),
            blkio_weight: self.blkio_weight.unwrap_or(0),
            ..Resources::default()
        }
    }

    /// Returns what of a container's limits is to be changed, if anything is.
    pub(crate) fn update(&self) -> Option<Resources> {
        let mut resources = self.resources();
        if self.pids_limit == Some(0) {
            resources.pids = LIFTED;
        }
        (resources != Resources::default()).then_some(resources)
    }
}

/// The limits that stay as they were given at the start.
#[derive(clap::Args, Debug)]
pub(crate) struct FixedLimitOptions {
    /// The share of I/O on one device of the machine, 10 to 1000
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = parse_device_weight)]
    blkio_weight_device: Vec<WeightDevice>,

    /// Limit reading from a device of the machine, bytes a second
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = parse_device_bytes)]
    device_read_bps: Vec<ThrottleDevice>,

    /// Limit writing to a device of the machine, bytes a second
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = parse_device_bytes)]
    device_write_bps: Vec<ThrottleDevice>,

    /// Limit reading from a device of the machine, operations a second
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = parse_device_operations)]
    device_read_iops: Vec<ThrottleDevice>,

    /// Limit writing to a device of the machine, operations a second
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = parse_device_operations)]
    device_write_iops: Vec<ThrottleDevice>,

    /// A limit on each process, such as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = parse_ulimit)]
    pub(crate) ulimit: Vec<Ulimit>,

    /// How gladly the kernel ends it when memory is short, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub(crate) oom_score_adj: Option<i32>,
}

impl FixedLimitOptions {
    /// Adds them to the others.
    pub(crate) fn add_to(&self, resources: &mut Resources) {
        resources
            .blkio_weight_devices
            .clone_from(&self.blkio_weight_device);
        resources.device_read_bps.clone_from(&self.device_read_bps);
        resources
            .device_write_bps
            .clone_from(&self.device_write_bps);
        resources
            .device_read_iops
            .clone_from(&self.device_read_iops);
        resources
            .device_write_iops
            .clone_from(&self.device_write_iops);
    }
}

/// Parses the value of `--memory-swap`.
fn parse_swap(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let bytes = size::parse(text).map_err(|error| error.to_string())?;
    i64::try_from(bytes).map_err(|_| "that is more than any machine has".to_owned())
}

/// Parses the value of `--blkio-weight`; 0 is none, as with Docker.
fn parse_weight(text: &str) -> Result<u32, String> {
    let weight = text.parse().ok();
    weight
        .filter(|weight| *weight == 0 || WEIGHTS.contains(weight))
        .ok_or_else(|| "write a number from 10 to 1000; who has none has 500".to_owned())
}

/// The weights that there are.
const WEIGHTS: RangeInclusive<u32> = 10..=1000;

fn parse_device_weight(text: &str) -> Result<WeightDevice, String> {
    text.split_once(':')
        .filter(|(path, _)| path.starts_with("/dev/"))
        .and_then(|(path, number)| {
            Some(WeightDevice {
                path: path.to_owned(),
                weight: number
                    .parse()
                    .ok()
                    .filter(|weight| WEIGHTS.contains(weight))?,
            })
        })
        .ok_or_else(|| {
            "write a device and its weight from 10 to 1000, such as /dev/vda:300".to_owned()
        })
}

fn parse_device(
    text: &str,
    rate: impl Fn(&str) -> Option<u64>,
    example: &str,
) -> Result<ThrottleDevice, String> {
    text.split_once(':')
        .filter(|(path, _)| path.starts_with("/dev/"))
        .and_then(|(path, number)| {
            Some(ThrottleDevice {
                path: path.to_owned(),
                rate: rate(number).filter(|rate| *rate > 0)?,
            })
        })
        .ok_or_else(|| format!("write a device and its limit, such as {example}"))
}

fn parse_device_bytes(text: &str) -> Result<ThrottleDevice, String> {
    parse_device(text, |number| size::parse(number).ok(), "/dev/vda:10m")
}

fn parse_device_operations(text: &str) -> Result<ThrottleDevice, String> {
    parse_device(text, |number| number.parse().ok(), "/dev/vda:1000")
}

fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let wrong = || "write NAME=SOFT[:HARD], such as nofile=1024:2048; -1 is no limit".to_owned();
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= -1);
    Ok(Ulimit {
        name: name.to_owned(),
        soft: number(soft).ok_or_else(wrong)?,
        hard: number(hard).ok_or_else(wrong)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_ulimits_are_read() {
        let device = parse_device_bytes("/dev/vda:1m").unwrap();
        assert_eq!((device.path.as_str(), device.rate), ("/dev/vda", 1 << 20));
        assert_eq!(parse_device_operations("/dev/vda:5").unwrap().rate, 5);
        for text in ["", "/dev/vda", "vda:1m", "/dev/vda:0", "/dev/vda:x"] {
            assert!(parse_device_bytes(text).is_err(), "{text}");
        }
        let device = parse_device_weight("/dev/vda:300").unwrap();
        assert_eq!((device.path.as_str(), device.weight), ("/dev/vda", 300));
        for text in ["", "/dev/vda", "vda:300", "/dev/vda:9", "/dev/vda:1001"] {
            assert!(parse_device_weight(text).is_err(), "{text}");
        }
        assert_eq!((parse_weight("0"), parse_weight("10")), (Ok(0), Ok(10)));
        assert!(parse_weight("9").is_err() && parse_weight("x").is_err());
        let ulimit = parse_ulimit("nofile=5").unwrap();
        assert_eq!((ulimit.soft, ulimit.hard), (5, 5));
        assert_eq!(parse_ulimit("core=0:-1").unwrap().hard, -1);
        for text in ["nofile", "nofile=", "nofile=a", "nofile=1:-2"] {
            assert!(parse_ulimit(text).is_err(), "{text}");
        }
        assert_eq!(parse_swap("-1"), Ok(-1));
        assert!(parse_swap("-2").is_err());
    }
}
