//! Linux and macOS.

use std::io;
use std::path::Path;

use rustix::fs::Access;
use tokio::process::Command;

/// Fails unless this process may create files in `folder`.
pub(crate) fn check_writable(folder: &Path) -> io::Result<()> {
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
}

/// Tells whether other users may read `file`, by its permissions.
///
/// # Errors
///
/// Where it is not there.
pub fn others_may_read(file: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(file)?.permissions().mode() & 0o077 != 0)
}

/// Returns the bytes of memory this host has.
pub(crate) fn host_memory() -> Option<u64> {
    // SAFETY: sysconf takes a number and returns one; it has no preconditions.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    u64::try_from(pages)
        .ok()?
        .checked_mul(u64::try_from(size).ok()?)
}

/// Gives the command a session of its own, so that neither the terminal's
/// hang-up nor its Ctrl-C reaches it.
pub fn detach(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed;
    // setsid is one (POSIX.1 signal-safety(7)) and the closure allocates nothing.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
}

/// Returns a command of the program that runs, also where its file was removed or
/// replaced since, as an upgrade does.
///
/// # Errors
///
/// Where the system does not tell which program that is.
pub fn this_program() -> io::Result<Command> {
    let path = std::env::current_exe()?;
    // Leads to the program itself, whatever became of its name (proc(5)).
    let running = Path::new("/proc/self/exe");
    if path.exists() || !running.exists() {
        return Ok(Command::new(path));
    }
    let mut command = Command::new(running);
    // The system says behind the name that it is gone; no process is called that.
    let name = path.to_string_lossy();
    command.arg0(name.strip_suffix(" (deleted)").unwrap_or(&name));
    Ok(command)
}
