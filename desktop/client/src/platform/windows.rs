//! Windows.

use std::io;
use std::path::Path;

use tokio::process::Command;
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

/// `DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP`, "Process Creation Flags" in the Windows API.
const DETACHED: u32 = 0x0000_0008 | 0x0000_0200;

/// Windows tells only when a file is created; what fails then names the file.
pub(crate) fn check_writable(folder: &Path) -> io::Result<()> {
    std::fs::metadata(folder).map(drop)
}

/// Windows gives a file the rights of its folder, which are not looked at here.
///
/// # Errors
///
/// Where it is not there.
pub fn others_may_read(file: &Path) -> io::Result<bool> {
    std::fs::metadata(file).map(|_| false)
}

/// Returns the bytes of memory this host has.
pub(crate) fn host_memory() -> Option<u64> {
    let mut status = MEMORYSTATUSEX {
        dwLength: u32::try_from(size_of::<MEMORYSTATUSEX>()).ok()?,
        ..MEMORYSTATUSEX::default()
    };
    // SAFETY: the pointer is to a live structure whose length field is set, as
    // GlobalMemoryStatusEx asks.
    let answered = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    (answered != 0).then_some(status.ullTotalPhys)
}

/// Frees the command from this console and its Ctrl-C.
pub fn detach(command: &mut Command) {
    command.creation_flags(DETACHED);
}

/// Returns a command of the program that runs, whose file the system keeps.
///
/// # Errors
///
/// Where the system does not tell which program that is.
pub fn this_program() -> io::Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}
