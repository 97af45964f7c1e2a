//! Virtual machines: one trait over the hypervisors of the platforms.
//!
//! A [`Hypervisor`] boots a [`VmDescription`] and returns the running [`Vm`].
//! [`hypervisor`] finds the one that the settings name; each lies in a module
//! of its own.

mod description;
mod error;
mod hypervisor;
pub mod qemu;

pub use description::{Disk, Share, VmDescription};
pub use error::VmError;
pub use hypervisor::{End, GuestStream, Hypervisor, Kind, Options, Vm, VmState, hypervisor};
