//! Which accelerator to boot with.
//!
//! An accelerator counts as usable only after a guest has run on it: `/dev/kvm`
//! may open, create VMs and still fail to run a stock kernel, where the host is
//! itself a VM with a partial KVM. What came out is remembered until the host
//! boots again, so that the price is paid once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wherry_client::settings::Accelerator;

use crate::platform;
use crate::vm::VmError;

/// The accelerator that a host has beside emulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// The platform's hardware accelerator, if it opens.
    pub(super) hardware: Option<Accelerator>,
    /// The platform's hardware accelerator, whether it opens or not.
    pub(super) platform: Option<Accelerator>,
}

/// Returns what this host has.
pub(super) fn of_host() -> Host {
    let platform = match std::env::consts::OS {
        "linux" => Some(Accelerator::Kvm),
        "macos" => Some(Accelerator::Hvf),
        "windows" => Some(Accelerator::Whpx),
        _ => None,
    };
    Host {
        hardware: platform.filter(|accelerator| *accelerator != Accelerator::Kvm || kvm_opens()),
        platform,
    }
}

fn kvm_opens() -> bool {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
}

/// Returns the accelerators to try, in order.
pub(super) fn candidates(
    wish: Accelerator,
    host: Host,
    verdicts: &Verdicts,
) -> Result<Vec<Accelerator>, VmError> {
    match wish {
        Accelerator::Auto => {
            let hardware = host
                .hardware
                .filter(|accelerator| verdicts.rejected(*accelerator).is_none());
            Ok(hardware.into_iter().chain([Accelerator::Tcg]).collect())
        }
        Accelerator::Tcg => Ok(vec![Accelerator::Tcg]),
        chosen if host.platform == Some(chosen) => Ok(vec![chosen]),
        chosen => Err(VmError::NoSuchAccelerator {
            name: chosen.name(),
        }),
    }
}

/// What was learnt of the accelerators since the host booted.
#[derive(Debug)]
pub(super) struct Verdicts {
    path: PathBuf,
    boot: String,
}

#[derive(Default, Deserialize, Serialize)]
struct Record {
    /// The host boot that the rest holds for.
    boot: String,
    /// Why an accelerator does not work; absent where it does.
    accelerators: BTreeMap<String, Option<String>>,
}

impl Verdicts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            boot: platform::boot_id(),
        }
    }

    pub(super) fn rejected(&self, accelerator: Accelerator) -> Option<String> {
        self.load()
            .accelerators
            .remove(accelerator.name())
            .flatten()
    }

    pub(super) fn confirmed(&self, accelerator: Accelerator) -> bool {
        matches!(self.load().accelerators.get(accelerator.name()), Some(None))
    }

    /// Remembers a failure with its reason, or a success. Failing to write is
    /// no error: the next start finds out again.
    pub(super) fn record(&self, accelerator: Accelerator, reason: Option<&str>) {
        let mut record = self.load();
        record
            .accelerators
            .insert(accelerator.name().to_owned(), reason.map(str::to_owned));
        let written = serde_json::to_vec(&record)
            .map_err(std::io::Error::other)
            .and_then(|bytes| crate::machine::record::replace(&self.path, &bytes));
        if let Err(error) = written {
            tracing::debug!(path = %self.path.display(), %error, "cannot remember the accelerator");
        }
    }

    fn load(&self) -> Record {
        std::fs::read(&self.path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok())
            .filter(|record| record.boot == self.boot)
            .unwrap_or_else(|| Record {
                boot: self.boot.clone(),
                ..Record::default()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KVM_HOST: Host = Host {
        hardware: Some(Accelerator::Kvm),
        platform: Some(Accelerator::Kvm),
    };

    fn verdicts(folder: &tempfile::TempDir) -> Verdicts {
        Verdicts {
            path: folder.path().join("accelerators.json"),
            boot: "this boot".into(),
        }
    }

    #[test]
    fn auto_tries_the_hardware_first_and_emulation_last() {
        let folder = tempfile::tempdir().unwrap();
        let order = candidates(Accelerator::Auto, KVM_HOST, &verdicts(&folder)).unwrap();
        assert_eq!(order, [Accelerator::Kvm, Accelerator::Tcg]);
    }

    #[test]
    fn a_failed_accelerator_is_not_tried_again_until_the_host_boots() {
        let folder = tempfile::tempdir().unwrap();
        let mut verdicts = verdicts(&folder);
        verdicts.record(Accelerator::Kvm, Some("internal-error"));
        let order = candidates(Accelerator::Auto, KVM_HOST, &verdicts).unwrap();
        assert_eq!(order, [Accelerator::Tcg]);
        assert_eq!(
            verdicts.rejected(Accelerator::Kvm).as_deref(),
            Some("internal-error")
        );
        verdicts.boot = "the next boot".into();
        let order = candidates(Accelerator::Auto, KVM_HOST, &verdicts).unwrap();
        assert_eq!(order, [Accelerator::Kvm, Accelerator::Tcg]);
    }

    #[test]
    fn a_chosen_accelerator_is_tried_whatever_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = verdicts(&folder);
        verdicts.record(Accelerator::Kvm, Some("internal-error"));
        let order = candidates(Accelerator::Kvm, KVM_HOST, &verdicts).unwrap();
        assert_eq!(order, [Accelerator::Kvm]);
    }

    #[test]
    fn an_accelerator_of_another_platform_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = candidates(Accelerator::Hvf, KVM_HOST, &verdicts(&folder)).unwrap_err();
        assert!(error.to_string().contains("hvf"), "{error}");
    }

    #[test]
    fn a_host_without_an_accelerator_emulates() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host {
            hardware: None,
            platform: Some(Accelerator::Kvm),
        };
        let order = candidates(Accelerator::Auto, host, &verdicts(&folder)).unwrap();
        assert_eq!(order, [Accelerator::Tcg]);
    }

    #[test]
    fn a_torn_record_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = verdicts(&folder);
        std::fs::write(&verdicts.path, b"{\"boot\":\"this b").unwrap();
        assert!(!verdicts.confirmed(Accelerator::Kvm));
        verdicts.record(Accelerator::Kvm, None);
        assert!(verdicts.confirmed(Accelerator::Kvm));
    }
}
