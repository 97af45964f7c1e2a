//! The shapes that Docker gives containers, images, networks, volumes and events, made
//! of the engine's own messages. The command and the Engine API both show them, and
//! so agree.

pub mod container;
pub mod event;
pub mod human;
pub mod image;
pub mod network;
pub mod reference;
pub mod volume;
