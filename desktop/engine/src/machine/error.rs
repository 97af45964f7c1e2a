//! Why there is no machine.

use std::io;
use std::path::PathBuf;

use crate::vm::VmError;

/// Why the machine does not run.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Another process owns the machine of this home folder.
    #[error("another machine process runs for {home}", home = home.display())]
    Running {
        /// The home folder.
        home: PathBuf,
    },
    /// A file or socket cannot be used.
    #[error("cannot use {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] wherry_client::SettingsError),
    /// There is no guest image.
    #[error(transparent)]
    GuestImage(#[from] wherry_client::GuestImageError),
    /// The data disk cannot be made.
    #[error("cannot make the data disk {path} out of {template}: {source}", path = path.display(), template = template.display())]
    Disk {
        /// The disk.
        path: PathBuf,
        /// The blank one.
        template: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A shared folder cannot be named to the guest.
    #[error("cannot share {folder}: its path is not valid UTF-8; take it out of `shares` in the settings", folder = folder.display())]
    Share {
        /// The folder.
        folder: PathBuf,
    },
    /// The VM does not run.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The guest ended instead of answering.
    #[error("the guest did not come up: {reason} (console: {console})", console = console.display())]
    Boot {
        /// How it ended.
        reason: String,
        /// The console log.
        console: PathBuf,
    },
    /// Host and guest are of different versions.
    #[error(
        "the guest image {image} speaks wire version {guest}, and this program {host}: build it again with `cargo xtask guest`",
        image = image.display()
    )]
    WireVersion {
        /// The guest image's folder.
        image: PathBuf,
        /// The guest's version.
        guest: u32,
        /// The host's version.
        host: u32,
    },
    /// The VM ended on its own.
    #[error("{reason}")]
    Ended {
        /// How.
        reason: String,
    },
}
