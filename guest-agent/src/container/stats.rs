//! What containers use.

use std::fs;
use std::sync::Arc;

use wherry_proto::v1::{ContainerStats, StatsRequest};

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
        stats.cpu_ns = keyed(&cgroup.read("cpu.stat"), "usage_usec") * 1000;
        stats.processors =
            std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        // As Docker: what the kernel would drop first is not counted.
        let dropped = keyed(&cgroup.read("memory.stat"), "inactive_file");
        stats.memory = cgroup.number("memory.current").saturating_sub(dropped);
        stats.memory_limit = match cgroup.number("memory.max") {
            0 => total,
            limit => limit.min(total),
        };
        stats.pids = cgroup.number("pids.current");
        let network = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        (stats.network_received, stats.network_sent) = transferred(&network);
        (stats.block_read, stats.block_written) = block(&cgroup.read("io.stat"));
        stats
    }
}

/// Returns the number behind a name, of lines of both; 0 where there is none.
fn keyed(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .unwrap_or(0)
}

/// Sums received and sent bytes of `/proc/PID/net/dev`, without the loopback.
fn transferred(text: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for line in text.lines() {
        let Some((name, fields)) = line.split_once(':') else {
            continue;
        };
        let number = |place| {
            let field: Option<&str> = fields.split_ascii_whitespace().nth(place);
            field
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or(0)
        };
        if name.trim() != "lo" {
            sums.0 += number(0);
            sums.1 += number(8);
        }
    }
    sums
}

/// Sums read and written bytes of `io.stat`.
fn block(text: &str) -> (u64, u64) {
    let sum = |name: &str| {
        text.split_ascii_whitespace()
            .filter_map(|field| field.strip_prefix(name)?.parse::<u64>().ok())
            .sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(
            keyed("usage_usec 7730\nuser_usec 4387\n", "user_usec"),
            4387
        );
        assert_eq!(keyed("", "x"), 0);
        let network = "Inter-|   Receive\n face |bytes packets\n    lo: 9 1 0 0 0 0 0 0 9 1\n  eth0: 100 2 0 0 0 0 0 0 200 3 0 0\n";
        assert_eq!(transferred(network), (100, 200));
        let io = "254:0 rbytes=10 wbytes=20 rios=1\n254:16 rbytes=1 wbytes=2\n8:0\n";
        assert_eq!(block(io), (11, 22));
    }
}
