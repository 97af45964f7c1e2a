//! The machine process: it owns the VM, the vsock device, the shares, the
//! listening host ports and the clock, and outlives the `wherryd` that started
//! it.

mod board;
mod boot;
mod clock;
mod config;
mod disk;
mod error;
mod guest;
mod ports;
pub(crate) mod record;
mod relay;
mod run;
mod service;
mod stop;

pub use error::MachineError;
pub use record::last_state;
pub use run::run;
