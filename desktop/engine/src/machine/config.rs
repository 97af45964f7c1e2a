//! The machine that the settings describe.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use wherry_client::{GuestImage, Home, Settings, find_guest_image};

use super::board::console_log;
use super::{MachineError, disk};
use crate::daemon::shares::below_host_mount;
use crate::platform;
use crate::vm::{Disk, Kind, Options, Share, VmDescription};

/// What the kernel is told where the guest image says nothing else: its own
/// messages on the serial port, and an end instead of a standstill on a panic.
const KERNEL_WORDS: &str = "console=ttyS0 quiet panic=-1";

/// The environment variable with arguments that QEMU gets beside its own.
const QEMU_ARGUMENTS: &str = "WHERRY_QEMU_ARGUMENTS";

/// Networks of the host that the guest is told of at most: the kernel takes a line
/// of 2 KiB.
const MOST_ROUTES: usize = 32;

/// The machine that the settings of a home folder describe.
#[derive(Clone, Debug)]
pub(super) struct MachineConfig {
    pub(super) home: Home,
    pub(super) settings: Settings,
    pub(super) image: GuestImage,
    pub(super) shares: Vec<Share>,
}

impl MachineConfig {
    /// Reads the settings and finds the guest image.
    pub(super) fn load(home: &Home) -> Result<Self, MachineError> {
        let settings = Settings::load(home)?;
        Ok(Self {
            shares: shares(&settings.shares),
            image: find_guest_image()?,
            settings,
            home: home.clone(),
        })
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::from_settings(self.settings.hypervisor)
    }

    pub(super) fn options(&self) -> Options {
        Options {
            qemu: self.settings.qemu.clone(),
            verdicts: self.home.run().join("accelerators.json"),
            qemu_arguments: std::env::var(QEMU_ARGUMENTS).unwrap_or_default(),
        }
    }

    /// Makes the data disk where there is none.
    pub(super) fn prepare_disk(&self) -> Result<(), MachineError> {
        let template = self.image.folder.join("data.img");
        let path = self.home.data_disk();
        disk::prepare(&path, &template, self.settings.disk_size).map_err(|source| {
            MachineError::Disk {
                path,
                template,
                source,
            }
        })
    }

    /// Returns the VM to boot now.
    pub(super) fn description(&self) -> Result<VmDescription, MachineError> {
        Ok(VmDescription {
            kernel: self.image.kernel(),
            initramfs: self.image.initramfs(),
            command_line: command_line(
                &self.kernel_words(),
                &self.shares,
                &platform::routes(),
                SystemTime::now(),
            )?,
            cpus: self.settings.cpus,
            memory: self.settings.memory,
            disks: vec![Disk {
                image: self.home.data_disk(),
                read_only: false,
            }],
            shares: self.shares.clone(),
            network: true,
            console_log: console_log(&self.home),
            run: self.home.run(),
        })
    }

    /// The guest image may bring a command line of its own in `cmdline`.
    fn kernel_words(&self) -> String {
        std::fs::read_to_string(self.image.folder.join("cmdline")).map_or_else(
            |_| KERNEL_WORDS.to_owned(),
            |words| words.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
        )
    }
}

/// Returns the devices for the folders that are there, links in their paths
/// followed. A folder inside of another one needs none of its own.
fn shares(folders: &[PathBuf]) -> Vec<Share> {
    let mut real: Vec<PathBuf> = Vec::new();
    for folder in folders {
        match folder.canonicalize() {
            Ok(folder) if folder.is_dir() => real.push(folder),
            Ok(_) => tracing::warn!(folder = %folder.display(), "not shared: no folder"),
            Err(error) => tracing::warn!(folder = %folder.display(), %error, "not shared"),
        }
    }
    real.sort();
    real.dedup_by(|inner, outer| inner.starts_with(outer));
    real.into_iter()
        .enumerate()
        .map(|(index, folder)| Share {
            tag: format!("share{index}"),
            folder,
        })
        .collect()
}

fn command_line(
    words: &str,
    shares: &[Share],
    routes: &[String],
    now: SystemTime,
) -> Result<String, MachineError> {
    let mut line = words.to_owned();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Writing to a String does not fail.
    let _ = write!(line, " wherry.data=/dev/vda wherry.time={}", now.as_nanos());
    for (index, share) in shares.iter().enumerate() {
        let guest = guest_path(&share.folder)?;
        let before = if index == 0 { " wherry.shares=" } else { "," };
        let _ = write!(line, "{before}{}:{}", share.tag, percent_encode(&guest));
    }
    // The guest's default network is one of IPv4.
    let mut routes: Vec<_> = routes.iter().filter(|route| !route.contains(':')).collect();
    // The widest first, where not all have room.
    routes.sort_by_key(|route| prefix_length(route));
    for (index, route) in routes.into_iter().take(MOST_ROUTES).enumerate() {
        let before = if index == 0 {
            " wherry.host_routes="
        } else {
            ","
        };
        let _ = write!(line, "{before}{route}");
    }
    Ok(line)
}

/// Returns the last number of "10.8.0.0/16".
fn prefix_length(route: &str) -> u8 {
    let length = route.rsplit_once('/').map(|(_, length)| length.parse());
    length.and_then(Result::ok).unwrap_or(u8::MAX)
}

fn guest_path(folder: &Path) -> Result<String, MachineError> {
    below_host_mount(folder).ok_or_else(|| MachineError::Share {
        folder: folder.to_owned(),
    })
}

/// Encodes whatever would end a word or a part of it: RFC 3986's unreserved
/// characters and `/` stay.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_guest_is_told_its_disk_the_time_and_the_shares() {
        let shares = [
            Share {
                tag: "share0".into(),
                folder: "/home/a b,c".into(),
            },
            Share {
                tag: "share1".into(),
                folder: "/tmp".into(),
            },
        ];
        let now = UNIX_EPOCH + Duration::from_nanos(17);
        let routes = ["192.0.2.0/24", "10.8.0.0/16", "fd00::/64"].map(str::to_owned);
        assert_eq!(
            command_line("quiet", &shares, &routes, now).unwrap(),
            "quiet wherry.data=/dev/vda wherry.time=17 \
             wherry.shares=share0:/mnt/host/home/a%20b%2Cc,share1:/mnt/host/tmp \
             wherry.host_routes=10.8.0.0/16,192.0.2.0/24"
        );
    }

    #[test]
    fn a_folder_inside_of_another_one_is_shared_once() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("home/me")).unwrap();
        std::fs::create_dir_all(real.join("home-of-another")).unwrap();
        let wish = [
            real.join("home/me"),
            real.join("home"),
            real.join("home-of-another"),
            real.join("missing"),
        ];
        let folders: Vec<PathBuf> = shares(&wish).into_iter().map(|s| s.folder).collect();
        assert_eq!(folders, [real.join("home"), real.join("home-of-another")]);
    }
}
