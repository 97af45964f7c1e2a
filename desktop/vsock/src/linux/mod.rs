//! The device itself: virtqueues and vhost-user, on Linux.

mod backend;
mod chain;
mod device;
mod queues;

pub use device::{Error, VsockDevice};
