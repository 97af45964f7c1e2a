//! A container's cgroup (version 2), as far as its shim needs it.

use std::fs;
use std::io;
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

    /// Tells whether the kernel killed a process in it for want of memory.
    #[must_use]
    pub(crate) fn oom_killed(&self) -> bool {
        fs::read_to_string(self.path.join("memory.events")).is_ok_and(|events| {
            events
                .lines()
                .filter_map(|line| line.strip_prefix("oom_kill "))
                .any(|count| count.trim() != "0")
        })
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
