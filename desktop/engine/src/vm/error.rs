//! Why a VM does not run.

use std::io;
use std::path::PathBuf;

/// Why a VM does not start or does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The hypervisor is not part of this build.
    #[error("the hypervisor {name} is not in this build for {platform}: set `hypervisor = \"auto\"` in the settings", platform = std::env::consts::OS)]
    NotInBuild {
        /// Its name in the settings.
        name: &'static str,
    },
    /// The accelerator does not exist here.
    #[error("the accelerator {name} does not exist on {platform}: set `accelerator = \"auto\"` in the settings", platform = std::env::consts::OS)]
    NoSuchAccelerator {
        /// Its name in the settings.
        name: &'static str,
    },
    /// Something that this platform's backend cannot do yet.
    #[error("{what} with QEMU is not supported on {platform}", platform = std::env::consts::OS)]
    Unsupported {
        /// What.
        what: &'static str,
    },
    /// QEMU is not installed.
    #[error(
        "cannot find {program}, not on PATH and not in {places}: install it ({package}), or name the program as `qemu` in the settings"
    )]
    NoQemu {
        /// The program's name.
        program: String,
        /// Where else it was looked for.
        places: String,
        /// What installs it here.
        package: &'static str,
    },
    /// The settings name a program that is none.
    #[error("`qemu` in the settings names {path}, which is no program: correct it, or leave it out", path = path.display())]
    NotAProgram {
        /// What they name.
        path: PathBuf,
    },
    /// A program cannot be executed.
    #[error("cannot execute {program}: {source}", program = program.display())]
    Execute {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file or socket of the VM cannot be used.
    #[error("cannot use {path} for the VM: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A folder cannot be shared.
    #[error("cannot share {folder} with the guest: {reason}", folder = folder.display())]
    Share {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The vsock device does not start.
    #[error("cannot start the vsock device: {0}")]
    Vsock(String),
    /// The hypervisor ended, or said no.
    #[error("{0}")]
    Failed(String),
}
