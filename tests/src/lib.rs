//! What the end-to-end tests and the benchmarks share: an engine of their own,
//! images to run in it, and ways to reach what runs.

mod api;
pub mod archive;
mod engine;
pub mod net;
pub mod process;
mod registry;
pub mod server;
pub mod wait;

pub use api::{Answer, Api, Streaming, run_once};
pub use engine::{Engine, IMAGE, Ran};
pub use registry::Registry;
