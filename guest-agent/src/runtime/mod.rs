//! Runs containers: from a description to an OCI runtime specification
//! ([`spec`]), from that to processes in namespaces (`run_oci`, on
//! libcontainer), each container held by a process of its own ([`shim`]) that
//! `serve` drives through [`Shim`].
//!
//! A container's life: [`Shim::spawn`], [`Shim::create`], any number of
//! [`Shim::attach`], [`Shim::start`], an [`ShimEvent::Exited`], [`Shim::delete`].
//! `serve` may die in between; [`Shim::connect`] finds the shim again, and
//! [`ExitStatus::read`] the exit code where the shim has gone too.

mod cgroup;
mod client;
mod log_files;
mod protocol;
mod run_oci;
pub(crate) mod shim;
pub(crate) mod spec;

pub(crate) use cgroup::{Cgroup, MemoryEvents};
pub(crate) use client::{Shim, ShimError, ShimEvent, ShimEvents};
pub(crate) use log_files::{LogLimits, log_file};
pub(crate) use protocol::{
    AttachOptions, ExecSpec, ExitStatus, FailureKind, ShimConfig, ShimStatus, TerminalSize,
};
