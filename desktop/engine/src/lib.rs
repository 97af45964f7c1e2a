//! Wherry's host engine.
//!
//! [`daemon`] is `wherryd`: it may die at any time. [`machine`] is the process
//! that owns the VM and outlives it; [`vm`] holds the hypervisors behind it.

mod api;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use api::fuzzing;
pub mod daemon;
pub mod machine;
mod platform;
pub mod vm;
