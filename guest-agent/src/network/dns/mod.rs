//! The embedded name servers: they answer for containers and the host, and
//! pass everything else on as it is. The default network has one, at its
//! gateway; a container on any other network has one of its own, at the address
//! of Docker's on its loopback, which knows all its networks.

mod answer;
mod forward;
mod server;
mod view;
mod zone;

pub(super) use server::{Server, Sockets};
pub(super) use view::View;
pub(super) use zone::Zone;

#[cfg(test)]
pub(super) use answer::{Answer, answer};
