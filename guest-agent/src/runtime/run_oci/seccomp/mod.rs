//! Loads a container's seccomp profile.
//!
//! libcontainer would, through libseccomp. That takes 30 ms of processor time
//! for Docker's profile, most of what making a container takes, loses the
//! system calls that are newer than libseccomp, and is left out for execs. So
//! the profile becomes a program here ([`compile`]), once for each container,
//! which the launcher loads.

mod assemble;
mod resolve;

use std::io;

use libcontainer::oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};
use serde::{Deserialize, Serialize};

pub(super) use resolve::ProfileError;

/// One instruction of a classic BPF program, `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C)]
pub(super) struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    value: u32,
}

/// A profile as the kernel takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Filter {
    instructions: Vec<Instruction>,
    flags: u64,
}

/// Returns the program of a profile.
///
/// # Errors
///
/// [`ProfileError`] for what the profile asks for and this cannot do.
pub(super) fn compile(profile: &LinuxSeccomp) -> Result<Filter, ProfileError> {
    let resolved = resolve::resolve(profile)?;
    let mut flags = 0;
    for flag in profile.flags().iter().flatten() {
        flags |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => {
                libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW
            }
            // There is one thread when the filter is loaded, and no notification.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync
            | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    Ok(Filter {
        instructions: assemble::program(&resolved),
        flags,
    })
}

impl Filter {
    /// Puts the calling thread, and what it runs, under the filter. Wants
    /// no_new_privs or CAP_SYS_ADMIN.
    ///
    /// # Errors
    ///
    /// Those of seccomp(2).
    pub(super) fn load(&self) -> io::Result<()> {
        let length = u16::try_from(self.instructions.len())
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let program = libc::sock_fprog {
            len: length,
            filter: self.instructions.as_ptr().cast_mut().cast(),
        };
        // SAFETY: `program` points to `len` instructions of the kernel's layout
        // (`Instruction` is repr(C) as sock_filter), which it copies.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                self.flags,
                &raw const program,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

#[cfg(test)]
mod tests;
