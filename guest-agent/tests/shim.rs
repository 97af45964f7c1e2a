//! Containers on this machine, each through a real shim: no VM, but root.
//!
//! The runtime wants cgroup version 2 at `/sys/fs/cgroup`; every test mounts
//! it there in a mount namespace of its own.

#![allow(clippy::unwrap_used, reason = "a test stops where its assumptions do")]

#[path = "../src/runtime/mod.rs"]
#[allow(dead_code, unreachable_pub)]
mod runtime;

#[path = "shim/container.rs"]
mod container;

#[path = "shim/life.rs"]
mod life;

#[path = "shim/streams.rs"]
mod streams;
