//! A virtio-vsock device (virtio 1.2, section 5.10) as a vhost-user backend.
//!
//! The host dials the guest: [`Connector::connect`] gives a [`Stream`] to a
//! port on which a program in the guest listens. Everything the guest controls
//! (rings, descriptors, headers, credit) is treated as hostile.
//!
//! - [`connection`]: the state machine of one connection, without any I/O.
//! - `endpoint`: one connection with its buffers and the tasks that wait on it.
//! - `table`: all endpoints, and the list of those with something to send.
//! - [`Stream`] and [`Connector`]: the asynchronous face.
//! - `linux`: virtqueues and vhost-user.

#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "the device that drives all this is Linux only")
)]

pub mod connection;
mod connector;
mod endpoint;
pub mod packet;
mod ring;
mod stream;
mod table;

#[cfg(target_os = "linux")]
mod linux;

pub use connector::{ConnectError, Connector};
#[cfg(target_os = "linux")]
pub use linux::{Error, VsockDevice};
pub use stream::Stream;

#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use linux::fuzzing;
