//! The device itself: virtqueues and vhost-user, on Linux.

mod backend;
mod chain;
mod device;
#[cfg(test)]
mod driver;
pub mod fuzzing;
mod queues;
mod rig;
#[cfg(test)]
mod tests;

pub use device::{Error, VsockDevice};
