//! A container's cgroup (version 2), as far as its shim needs it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Where the hierarchy is mounted; libcontainer's constant too.
const ROOT: &str = "/sys/fs/cgroup";

/// One cgroup.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Names the cgroup at a path relative to the root of the hierarchy.
    #[must_use]
    pub(crate) fn new(path: &Path) -> Self {
        let path = path.strip_prefix("/").unwrap_or(path);
        Self {
            path: Path::new(ROOT).join(path),
        }
    }

    /// Makes it, unless it is there.
    ///
    /// # Errors
    ///
    /// Those of `mkdir`; `NotFound` where no hierarchy is mounted.
    pub(crate) fn make(&self) -> io::Result<()> {
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns its directory.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether it is there.
    #[must_use]
    pub(crate) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Returns the names of the cgroups in it; none where it is not there.
    #[must_use]
    pub(crate) fn children(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    /// Opens what tells of its memory, to be polled.
    ///
    /// # Errors
    ///
    /// `NotFound` where the kernel does not limit memory in this hierarchy.
    pub(crate) fn memory_events(&self) -> io::Result<MemoryEvents> {
        Ok(MemoryEvents(File::open(self.path.join("memory.events"))?))
    }

    /// Sends SIGKILL to every process in it and below it.
    ///
    /// # Errors
    ///
    /// Those of writing `cgroup.kill`; none where the cgroup is not there.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match fs::OpenOptions::new()
            .write(true)
            .open(self.path.join("cgroup.kill"))
        {
            Ok(mut file) => io::Write::write_all(&mut file, b"1"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Stops every process in it where it is, or lets them go on; returns when
    /// all of them are (cgroup-v2.rst, "cgroup.freeze").
    ///
    /// # Errors
    ///
    /// Those of writing `cgroup.freeze`; `TimedOut` where a process that the
    /// kernel is busy with cannot be stopped within two seconds, and then none is.
    pub(crate) fn freeze(&self, frozen: bool) -> io::Result<()> {
        let switch = self.path.join("cgroup.freeze");
        fs::write(&switch, if frozen { "1" } else { "0" })?;
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.is_frozen() != frozen {
            if Instant::now() > deadline {
                fs::write(&switch, "0")?;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "a process of it is stuck in the kernel",
                ));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Tells whether every process in it is stopped.
    #[must_use]
    pub(crate) fn is_frozen(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events"))
            .is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
    }

    /// Writes one of its files.
    ///
    /// # Errors
    ///
    /// `NotFound` where the kernel has no such file, and what it refuses.
    pub(crate) fn set(&self, file: &str, value: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .open(self.path.join(file))?;
        io::Write::write_all(&mut file, value.as_bytes())
    }

    /// Reads one of its files; empty where there is none.
    #[must_use]
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap_or_default()
    }

    /// Reads one of its files that holds a number; 0 for `max` or none.
    #[must_use]
    pub(crate) fn number(&self, file: &str) -> u64 {
        self.read(file).trim().parse().unwrap_or(0)
    }

    /// Returns the processes in it and below it.
    #[must_use]
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        collect_processes(&self.path, &mut found);
        found.sort_unstable();
        found
    }

    /// Kills what is in it and removes it and what is below it. Blocks until
    /// the kernel has let go of the processes, for two seconds at most.
    ///
    /// # Errors
    ///
    /// Those of `rmdir`, after the deadline.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(2);
        match fs::remove_dir(&self.path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => self.kill()?,
        }
        loop {
            match remove_tree(&self.path) {
                // EBUSY until the last process is out of it.
                Err(error)
                    if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                result => return result,
            }
        }
    }
}

/// A cgroup's `memory.events`, of the cgroups below it too. Poll finds it
/// exceptional (`POLLPRI`) when it has changed since it was read last
/// (cgroup-v2.rst, "Interface Files").
#[derive(Debug)]
pub(crate) struct MemoryEvents(File);

impl MemoryEvents {
    /// Counts the processes that the kernel killed for want of memory.
    ///
    /// # Errors
    ///
    /// Those of reading; `ENODEV` once the cgroup is removed.
    pub(crate) fn kills(&self) -> io::Result<u64> {
        let mut buffer = [0; 512];
        let count = self.0.read_at(&mut buffer, 0)?;
        Ok(kills(&String::from_utf8_lossy(&buffer[..count])))
    }
}

impl AsFd for MemoryEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn kills(events: &str) -> u64 {
    events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        .unwrap_or(0)
}

fn collect_processes(path: &Path, found: &mut Vec<u32>) {
    let list = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    found.extend(list.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&entry.path(), found);
        }
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::ResourceBusy => return Err(error),
        Err(_) => {}
    }
    // The container may have made cgroups below its own.
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_not_the_times_that_memory_was_short() {
        let events = "low 0\nhigh 0\nmax 31\noom 4\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(kills(events), 2);
        assert_eq!(kills("low 0\noom 4\n"), 0);
    }
}
