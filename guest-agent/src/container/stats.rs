//! What containers use.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use wherry_proto::v1::{BlockStats, ContainerStats, NetworkStats, StatsRequest};

use super::error::Error;
use super::record::{Status, now};
use super::{Container, Containers};
use crate::runtime::Cgroup;

impl Containers {
    /// Measures what containers use now.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for one that is named and not there.
    pub(crate) fn stats(&self, request: &StatsRequest) -> Result<Vec<ContainerStats>, Error> {
        let chosen: Vec<Arc<Container>> = if request.containers.is_empty() {
            let all = self.all().into_iter();
            all.filter(|container| request.all || container.status() == Status::Running)
                .collect()
        } else {
            let names = request.containers.iter();
            names
                .map(|name| self.find(name))
                .collect::<Result<_, _>>()?
        };
        let (total, _) = crate::serve::memory();
        Ok(chosen
            .iter()
            .map(|container| self.measure(container, total))
            .collect())
    }

    fn measure(&self, container: &Container, total: u64) -> ContainerStats {
        let (running, pid) = {
            let state = &container.cell().record.state;
            (state.status == Status::Running, state.pid)
        };
        let mut stats = ContainerStats {
            id: container.id.clone(),
            name: container.name(),
            running,
            time_ns: now(),
            ..ContainerStats::default()
        };
        if !running {
            return stats;
        }
        let cgroup = Cgroup::new(&self.cgroup(&container.id));
        processor(&mut stats, &cgroup.read("cpu.stat"));
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        (stats.system_cpu_ns, stats.processors) = given(&machine);
        stats.memory_stat = numbers(&cgroup.read("memory.stat"));
        stats.memory_charged = cgroup.number("memory.current");
        // As Docker's clients: what the kernel would drop first is not counted.
        let dropped = stats.memory_stat.get("inactive_file").copied();
        stats.memory = stats.memory_charged.saturating_sub(dropped.unwrap_or(0));
        stats.memory_limit = match cgroup.number("memory.max") {
            0 => total,
            limit => limit.min(total),
        };
        stats.memory_failures = numbers(&cgroup.read("memory.events"))
            .remove("oom")
            .unwrap_or(0);
        stats.pids = cgroup.number("pids.current");
        stats.pids_limit = match cgroup.read("pids.max").trim() {
            "max" => u64::MAX,
            limit => limit.parse().unwrap_or(0),
        };
        // The guest's own network is nobody's.
        if container.cell().record.spec.network != "host" {
            let network = fs::read_to_string(format!("/proc/{pid}/net/dev"));
            stats.networks = interfaces(&network.unwrap_or_default());
        }
        stats.network_received = stats.networks.iter().map(|one| one.received_bytes).sum();
        stats.network_sent = stats.networks.iter().map(|one| one.sent_bytes).sum();
        stats.blocks = blocks(&cgroup.read("io.stat"));
        stats.block_read = stats.blocks.iter().map(|one| one.read).sum();
        stats.block_written = stats.blocks.iter().map(|one| one.written).sum();
        stats
    }
}

/// The unit of `/proc/stat`, which Linux gives to user space as 1/100 s everywhere
/// (`USER_HZ`), in nanoseconds.
const TICK: u64 = 10_000_000;

/// Reads lines of a name and a number.
fn numbers(text: &str) -> HashMap<String, u64> {
    let number = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    text.lines().filter_map(number).collect()
}

fn processor(stats: &mut ContainerStats, text: &str) {
    let numbers = numbers(text);
    let number = |name: &str| numbers.get(name).copied().unwrap_or(0);
    stats.cpu_ns = number("usage_usec") * 1000;
    stats.cpu_user_ns = number("user_usec") * 1000;
    stats.cpu_system_ns = number("system_usec") * 1000;
    stats.periods = number("nr_periods");
    stats.throttled_periods = number("nr_throttled");
    stats.throttled_ns = number("throttled_usec") * 1000;
}

/// Returns what the machine's processors have given since its start, nanoseconds,
/// and how many there are. Of the times of `/proc/stat` the first seven count, as
/// in Docker: those of guests are in them already.
fn given(text: &str) -> (u64, u32) {
    let mut lines = text.lines().filter(|line| line.starts_with("cpu"));
    let all = lines.next().unwrap_or_default().split_ascii_whitespace();
    let ticks = all
        .skip(1)
        .take(7)
        .filter_map(|ticks| ticks.parse::<u64>().ok());
    (
        ticks.sum::<u64>().saturating_mul(TICK),
        lines.count() as u32,
    )
}

/// Reads `/proc/PID/net/dev`, without the loopback.
fn interfaces(text: &str) -> Vec<NetworkStats> {
    let interface = |line: &str| {
        let (name, fields) = line.split_once(':')?;
        let fields: Vec<u64> = fields
            .split_ascii_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let field = |place: usize| fields.get(place).copied().unwrap_or(0);
        let name = name.trim();
        (name != "lo").then(|| NetworkStats {
            interface: name.to_owned(),
            received_bytes: field(0),
            received_packets: field(1),
            received_errors: field(2),
            received_dropped: field(3),
            sent_bytes: field(8),
            sent_packets: field(9),
            sent_errors: field(10),
            sent_dropped: field(11),
        })
    };
    text.lines().filter_map(interface).collect()
}

/// Reads `io.stat`: a device and its counts on each line; nothing behind the device
/// for one that did nothing.
fn blocks(text: &str) -> Vec<BlockStats> {
    let block = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (major, minor) = fields.next()?.split_once(':')?;
        let fields: Vec<&str> = fields.collect();
        let count = |name: &str| {
            let mut fields = fields.iter();
            fields.find_map(|field| field.strip_prefix(name)?.parse().ok())
        };
        Some(BlockStats {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            read: count("rbytes=")?,
            written: count("wbytes=")?,
        })
    };
    text.lines().filter_map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read() {
        let mut stats = ContainerStats::default();
        processor(
            &mut stats,
            "usage_usec 7730\nuser_usec 4387\nsystem_usec 3343\nnr_periods 9\nnr_throttled 2\nthrottled_usec 5\n",
        );
        assert_eq!(
            (stats.cpu_ns, stats.cpu_user_ns, stats.cpu_system_ns),
            (7_730_000, 4_387_000, 3_343_000)
        );
        assert_eq!(
            (stats.periods, stats.throttled_periods, stats.throttled_ns),
            (9, 2, 5000)
        );
        let machine = "cpu  1 2 3 4 5 6 7 800 900 0\ncpu0 1 1\ncpu1 2 2\nintr 5\n";
        assert_eq!(given(machine), (28 * TICK, 2));
        assert_eq!(given(""), (0, 0));
    }

    #[test]
    fn interfaces_and_devices_are_told_apart() {
        let network = "Inter-|   Receive\n face |bytes packets\n    lo: 9 1 0 0 0 0 0 0 9 1\n  eth0: 100 2 3 4 0 0 0 0 200 5 6 7\n eth1:8 1\n";
        let found = interfaces(network);
        let named: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    &*one.interface,
                    one.received_bytes,
                    one.sent_bytes,
                    one.sent_dropped,
                )
            })
            .collect();
        assert_eq!(named, [("eth0", 100, 200, 7), ("eth1", 8, 0, 0)]);
        let io = "254:0 rbytes=10 wbytes=20 rios=1\n254:16 rbytes=1 wbytes=2\n8:0\n";
        let found = blocks(io);
        let read: Vec<_> = found
            .iter()
            .map(|one| (one.minor, one.read, one.written))
            .collect();
        assert_eq!(read, [(0, 10, 20), (16, 1, 2)]);
    }
}
