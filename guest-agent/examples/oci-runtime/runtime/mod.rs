//! The modules that making a container needs, by the agent's own files.

#[path = "../../../src/runtime/log_files.rs"]
mod log_files;
#[path = "../../../src/runtime/protocol.rs"]
pub(crate) mod protocol;
#[path = "../../../src/runtime/run_oci/mod.rs"]
#[allow(unused_imports, reason = "what a shim does with them")]
mod run_oci;
#[path = "../../../src/runtime/spec/mod.rs"]
pub(crate) mod spec;

pub(crate) mod command;
