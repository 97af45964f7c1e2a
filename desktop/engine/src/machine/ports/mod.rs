//! Host ports of containers. Each accepted connection is one bulk stream to the
//! agent, which connects inside the container's network.

mod bind;
mod carrier;
mod check;
mod error;
mod listeners;
mod open;
mod tcp;
mod udp;

pub(super) use listeners::Ports;
