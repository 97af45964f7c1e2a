//! The embedded name server: it answers for containers and the host, and
//! passes everything else on as it is.

mod answer;
mod forward;
mod server;
mod zone;

pub(super) use server::Server;
pub(super) use zone::Zone;

#[cfg(test)]
pub(super) use answer::{Answer, answer};
