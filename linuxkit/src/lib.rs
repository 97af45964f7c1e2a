//! Builds Wherry's guest image from `wherry.yml`: the kernel, the initramfs with
//! the agent, and the blank data disk. The same inputs give the same bytes.
//!
//! [`build`] is the whole of it. [`build_bare_init`] makes the comparator of the
//! cold-start benchmark.

mod architecture;
mod cache;
mod command;
pub mod cpio;
mod data_disk;
mod error;
mod freestanding;
mod hello;
mod image;
mod initramfs;
mod kernel;
mod nftables;
pub mod yml;

pub use architecture::Architecture;
pub use cache::default_cache;
pub use command::required_packages;
pub use data_disk::DATA_DISK_BYTES;
pub use error::{Error, Result};
pub use image::{GuestImage, Manifest, Options, build, build_bare_init};
pub use kernel::{Kernel, verify};

/// Where a build tells how far it is.
pub trait Progress: Sync {
    /// Another step begins: a short sentence without a full stop.
    fn step(&self, what: &str);

    /// The step that runs has done `done` of about `total` parts.
    fn advance(&self, done: u64, total: u64);
}

/// Tells nobody.
impl Progress for () {
    fn step(&self, _: &str) {}

    fn advance(&self, _: u64, _: u64) {}
}
