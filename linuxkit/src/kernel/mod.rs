//! The guest's kernel: its source, its configuration, and the build of it, kept
//! by a hash of all that goes into it.

mod apt;
mod build;
mod configuration;
mod source;

pub use build::Kernel;
pub(crate) use build::build;
pub use configuration::verify;
