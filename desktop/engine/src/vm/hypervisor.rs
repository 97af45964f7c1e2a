//! The face of a hypervisor.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use wherry_client::settings::Accelerator;

use super::qemu::Qemu;
use super::{VmDescription, VmError};

/// The hypervisors there are, over all platforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// QEMU, everywhere.
    Qemu,
    /// Apple's Virtualization framework, on macOS.
    VirtualizationFramework,
    /// The Host Compute Service, on Windows.
    Hyperv,
}

impl Kind {
    /// Returns its name as in the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::VirtualizationFramework => "virtualization_framework",
            Self::Hyperv => "hyperv",
        }
    }

    /// Returns the hypervisor that the settings name, `auto` being the best one
    /// that this build has for the platform.
    #[must_use]
    pub fn from_settings(wish: wherry_client::settings::Hypervisor) -> Self {
        use wherry_client::settings::Hypervisor as Wish;
        match wish {
            // The two others take this over on their platforms when they are in
            // the build.
            Wish::Auto | Wish::Qemu => Self::Qemu,
            Wish::VirtualizationFramework => Self::VirtualizationFramework,
            Wish::Hyperv => Self::Hyperv,
        }
    }
}

/// What a hypervisor needs to know beside the VM's description.
#[derive(Clone, Debug)]
pub struct Options {
    /// The QEMU program that the settings name.
    pub qemu: Option<PathBuf>,
    /// The file that remembers which accelerators work on this host.
    pub verdicts: PathBuf,
    /// Arguments that QEMU gets beside its own, separated by white space: for
    /// finding faults and for measuring.
    pub qemu_arguments: String,
}

/// Returns a hypervisor.
///
/// # Errors
///
/// [`VmError::NotInBuild`], or what the hypervisor misses on this machine.
pub fn hypervisor(kind: Kind, options: &Options) -> Result<Box<dyn Hypervisor>, VmError> {
    match kind {
        Kind::Qemu => Ok(Box::new(Qemu::find(options)?)),
        Kind::VirtualizationFramework | Kind::Hyperv => {
            Err(VmError::NotInBuild { name: kind.name() })
        }
    }
}

/// Boots VMs.
pub trait Hypervisor: Send + Sync {
    /// Returns which one it is.
    fn kind(&self) -> Kind;

    /// Returns the accelerators to try for what the settings wish, in order.
    /// One that opens may still be unable to run a guest, so only a guest that
    /// answers settles it: then [`Self::confirm`] the accelerator, or
    /// [`Self::reject`] it and try the next.
    ///
    /// # Errors
    ///
    /// [`VmError::NoSuchAccelerator`].
    fn accelerators(&self, wish: Accelerator) -> Result<Vec<Accelerator>, VmError>;

    /// Returns why an accelerator that the platform has is not tried: it failed
    /// before on this host, since the host booted.
    fn rejected(&self, wish: Accelerator) -> Option<(Accelerator, String)>;

    /// Remembers that a guest has run on the accelerator.
    fn confirm(&self, accelerator: Accelerator);

    /// Returns whether a guest has run on the accelerator since the host booted.
    fn confirmed(&self, accelerator: Accelerator) -> bool;

    /// Remembers that no guest runs on the accelerator, and why.
    fn reject(&self, accelerator: Accelerator, reason: &str);

    /// Boots a VM. It runs when this returns, which is before its guest is ready.
    ///
    /// Await it on a thread that lives as long as the VM shall: where the
    /// platform can, the VM ends with the thread that started it.
    ///
    /// # Errors
    ///
    /// [`VmError`]; nothing of the VM is left then.
    fn start<'a>(
        &'a self,
        description: &'a VmDescription,
        accelerator: Accelerator,
    ) -> BoxFuture<'a, Result<Arc<dyn Vm>, VmError>>;
}

/// A byte stream to a port of the guest. Shutting it down ends what the host
/// sends, and what the guest sends still arrives.
pub trait GuestStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> GuestStream for S {}

/// What a VM does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmState {
    /// Its processors run.
    Running,
    /// Its processors stand still, as asked for.
    Paused,
    /// Its processors stand still until the host can do what the guest asked
    /// for, and what that waits for. They go on by themselves.
    Stalled(String),
    /// It is gone.
    Ended(End),
}

/// How a VM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest powered off, or the host ended it as asked.
    PoweredOff,
    /// It ended on its own, and why.
    Failed(String),
}

/// A VM that was started.
pub trait Vm: Send + Sync {
    /// Returns its state, and every later one. After `Ended` none follows.
    fn state(&self) -> watch::Receiver<VmState>;

    /// Returns the process that holds its memory; 0 where it has none.
    fn pid(&self) -> u32;

    /// Connects to a vsock port of the guest.
    fn connect(&self, port: u32) -> BoxFuture<'static, io::Result<Box<dyn GuestStream>>>;

    /// Stops its processors.
    fn pause(&self) -> BoxFuture<'_, Result<(), VmError>>;

    /// Lets its processors go on.
    fn resume(&self) -> BoxFuture<'_, Result<(), VmError>>;

    /// Presses its power button. The guest may ignore that.
    fn press_power_button(&self) -> BoxFuture<'_, Result<(), VmError>>;

    /// Cuts its power, and returns when it is gone. What the guest had not
    /// written to its disks is lost.
    fn cut_power(&self) -> BoxFuture<'_, ()>;
}
