//! The settings in `config.toml`.

mod api;
mod file;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Home;

pub use api::{ApiListener, ApiSettings};

const MEBIBYTE: u64 = 1 << 20;
const GIBIBYTE: u64 = 1 << 30;

/// The least memory a machine boots with, bytes.
pub const LEAST_MEMORY: u64 = 128 * MEBIBYTE;

/// The least size of the data disk, bytes.
pub const LEAST_DISK: u64 = GIBIBYTE;

/// The most processors of a machine.
pub const MOST_CPUS: u32 = 255;

/// What the user chose for the machine, and the defaults for what not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Processors of the machine. Default: the host's, at most four.
    pub cpus: u32,
    /// Memory of the machine, bytes. Default: a quarter of the host's, between
    /// one and four GiB.
    pub memory: u64,
    /// The accelerator. Default: the first one on which a guest runs.
    pub accelerator: Accelerator,
    /// The hypervisor. Default: the platform's.
    pub hypervisor: Hypervisor,
    /// Host folders that containers may mount. Default: the home folder and the
    /// folder for temporary files.
    pub shares: Vec<PathBuf>,
    /// The host address of published ports that name none. Default: 127.0.0.1.
    pub publish_address: IpAddr,
    /// The QEMU program. Default: the one on `PATH`.
    pub qemu: Option<PathBuf>,
    /// The size of the data disk, bytes; it takes what is used of it. Default: 64 GiB.
    pub disk_size: u64,
    /// Registries to ask before docker.io, `https://mirror.example`. Default: none.
    pub registry_mirrors: Vec<String>,
    /// Registries that may be asked without TLS or with a certificate that
    /// nobody vouches for: `host`, `host:port` or a network, `10.0.0.0/8`.
    /// Default: none; the loopback always may.
    pub insecure_registries: Vec<String>,
    /// How the Engine API is served beside its local socket.
    pub api: ApiSettings,
}

/// What speeds the guest's processors up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The first one on which a guest runs.
    #[default]
    Auto,
    /// Linux's.
    Kvm,
    /// macOS's Hypervisor.framework.
    Hvf,
    /// The Windows Hypervisor Platform.
    Whpx,
    /// None: QEMU emulates the processor.
    Tcg,
}

impl Accelerator {
    /// Returns its name as in the settings, `"kvm"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Whpx => "whpx",
            Self::Tcg => "tcg",
        }
    }
}

/// What runs the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hypervisor {
    /// The platform's.
    #[default]
    Auto,
    /// QEMU, on every platform.
    Qemu,
    /// Apple's Virtualization framework, on macOS.
    VirtualizationFramework,
    /// The Host Compute Service, on Windows.
    Hyperv,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings in {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file holds something that is no setting.
    #[error("{path}, line {line}: {message}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// What is wrong and what would be right.
        message: String,
    },
}

impl Settings {
    /// Reads the settings of `home`; the defaults where it has no `config.toml`.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] that names the file, the line and the setting.
    pub fn load(home: &Home) -> Result<Self, SettingsError> {
        let path = home.config();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(SettingsError::Read { path, source }),
        };
        text.parse()
            .map_err(|Invalid { line, message }| SettingsError::Invalid {
                path,
                line,
                message,
            })
    }
}

/// What is wrong with the text of a settings file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Invalid {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}
