//! One process as `/proc` tells of it (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Its program's name, of at most 15 bytes.
    pub(super) name: String,
    /// Its arguments; none of a kernel thread or a zombie.
    pub(super) arguments: Vec<String>,
    pub(super) state: String,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    pub(super) terminal: u32,
    /// Processor time used, clock ticks.
    pub(super) ticks: u64,
    pub(super) nice: i64,
    pub(super) threads: u64,
    /// When it started, clock ticks since the boot.
    pub(super) started: u64,
    /// Bytes of address space.
    pub(super) size: u64,
    /// Pages of memory.
    pub(super) resident: u64,
}

/// What the columns of every process relate to.
#[derive(Debug)]
pub(super) struct Machine {
    /// Clock ticks in a second.
    pub(super) hertz: u64,
    /// Bytes of a page.
    pub(super) page: u64,
    /// Bytes of memory.
    pub(super) memory: u64,
    /// Seconds since the boot.
    pub(super) uptime: u64,
    /// Seconds since 1970.
    pub(super) now: u64,
}

impl Machine {
    /// Reads the machine's figures.
    pub(super) fn now() -> Self {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime = uptime.split('.').next().and_then(|text| text.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            hertz: rustix::param::clock_ticks_per_second().max(1),
            page: rustix::param::page_size() as u64,
            memory: crate::serve::memory().0,
            uptime: uptime.unwrap_or(0),
            now: now.map_or(0, |since| since.as_secs()),
        }
    }
}

impl Process {
    /// Reads a process; `None` when it is gone.
    pub(super) fn read(pid: u32) -> Option<Self> {
        let directory = format!("/proc/{pid}");
        let owner = fs::metadata(&directory).ok()?;
        let stat = fs::read(format!("{directory}/stat")).ok()?;
        let arguments = fs::read(format!("{directory}/cmdline")).unwrap_or_default();
        let mut process = Self::parse(&String::from_utf8_lossy(&stat))?;
        process.uid = owner.uid();
        process.gid = owner.gid();
        process.arguments = arguments
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        if process.arguments.last().is_some_and(String::is_empty) {
            process.arguments.pop();
        }
        Some(process)
    }

    /// Parses `/proc/PID/stat`. The name may hold anything, so what follows is
    /// found from its end.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered from 3 in the manual page.
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |place: usize| field(place)?.parse::<u64>().ok();
        let small = |place: usize| Some(number(place).unwrap_or(0) as u32);
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            state: field(3)?.to_owned(),
            parent: small(4)?,
            group: small(5)?,
            session: small(6)?,
            terminal: small(7)?,
            ticks: number(14)? + number(15)?,
            nice: field(19)?.parse().ok()?,
            threads: number(20)?,
            started: number(22)?,
            size: number(23)?,
            resident: number(24)?,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat =
            "42 (a) b (c) S 1 42 42 34816 42 4194304 100 0 0 0 7 3 0 0 20 0 1 0 9000 1048576 250 0";
        let process = Process::parse(stat).unwrap();
        assert_eq!(process.name, "a) b (c");
        assert_eq!((process.pid, process.parent, process.ticks), (42, 1, 10));
        assert_eq!((process.started, process.resident), (9000, 250));
        assert_eq!(Process::parse("42 (x"), None);
    }

    #[test]
    fn this_process_is_found() {
        let process = Process::read(std::process::id()).unwrap();
        assert_eq!(process.pid, std::process::id());
        assert!(!process.arguments.is_empty());
    }
}
