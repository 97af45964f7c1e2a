//! How Wherry's programs find the engine and talk to it: the home folder, the
//! settings, the local sockets, gRPC and bulk streams over them, and the start
//! of `wherryd` where it does not run.
//!
//! The command, the app, `wherryd` and the machine process all use this crate,
//! so that they agree on where everything lies.

pub mod certificates;
pub mod docker;
pub mod guest_image;
pub mod local;
pub mod lock;
pub mod registry;
pub mod settings;
pub mod size;

mod bulk;
mod channel;
mod engine;
pub mod home;
mod platform;
mod program;

pub use bulk::{BulkReader, BulkStream, BulkWriter, StreamError, open_stream, open_stream_at};
pub use channel::{ChannelError, channel};
pub use engine::{EngineError, connect_engine, end_engine, engine};
pub use guest_image::{GuestImage, GuestImageError, find_guest_image};
pub use home::{Home, HomeError};
pub use platform::{detach, others_may_read, this_program};
pub use program::Program;
pub use settings::{Settings, SettingsError};
