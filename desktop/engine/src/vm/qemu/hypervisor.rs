//! [`Hypervisor`] over QEMU.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use wherry_client::settings::Accelerator;

use super::accelerator::{self, Verdicts};
use super::tsc::Tsc;
use super::{process, program};
use crate::vm::{Hypervisor, Kind, Options, Vm, VmDescription, VmError};

/// QEMU, found on this machine.
#[derive(Debug)]
pub struct Qemu {
    pub(super) program: PathBuf,
    verdicts: Verdicts,
    pub(super) tsc: Tsc,
    pub(super) more_arguments: Vec<String>,
}

impl Qemu {
    /// Finds QEMU.
    ///
    /// # Errors
    ///
    /// [`VmError`] that says what to install.
    pub fn find(options: &Options) -> Result<Self, VmError> {
        Ok(Self {
            program: program::find(options.qemu.as_deref())?,
            verdicts: Verdicts::new(options.verdicts.clone()),
            tsc: Tsc::begin(),
            more_arguments: options
                .qemu_arguments
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        })
    }
}

impl Hypervisor for Qemu {
    fn kind(&self) -> Kind {
        Kind::Qemu
    }

    fn accelerators(&self, wish: Accelerator) -> Result<Vec<Accelerator>, VmError> {
        accelerator::candidates(wish, accelerator::of_host(), &self.verdicts)
    }

    fn rejected(&self, wish: Accelerator) -> Option<(Accelerator, String)> {
        if wish != Accelerator::Auto {
            return None;
        }
        let hardware = accelerator::of_host().hardware?;
        let reason = self.verdicts.rejected(hardware)?;
        Some((hardware, reason))
    }

    fn confirm(&self, accelerator: Accelerator) {
        self.verdicts.record(accelerator, None);
    }

    fn confirmed(&self, accelerator: Accelerator) -> bool {
        self.verdicts.confirmed(accelerator)
    }

    fn reject(&self, accelerator: Accelerator, reason: &str) {
        self.verdicts.record(accelerator, Some(reason));
    }

    fn start<'a>(
        &'a self,
        description: &'a VmDescription,
        accelerator: Accelerator,
    ) -> BoxFuture<'a, Result<Arc<dyn Vm>, VmError>> {
        Box::pin(async move {
            let vm = process::start(self, description, accelerator).await?;
            Ok(Arc::new(vm) as Arc<dyn Vm>)
        })
    }
}
