//! The contract between Wherry's host and its guest: gRPC for control and
//! events, framed bulk streams for everything else.
//!
//! The `.proto` files in `wherry/v1` are the documentation; this crate holds
//! the types generated from them and the framing of bulk streams.

pub mod frame;

/// The types and services of `wherry/v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("wherry.v1");
}

/// The version of this contract. Host and guest exchange it at connect; a
/// difference means that the guest image is replaced on the next start.
pub const WIRE_VERSION: u32 = 1;

/// The guest's vsock port for gRPC.
pub const GRPC_PORT: u32 = 1024;

/// The guest's vsock port for bulk streams.
pub const STREAM_PORT: u32 = 1025;

/// The file name of the agent's gRPC socket where it runs without a VM, and of
/// the machine's relay to it on the host.
pub const GRPC_SOCKET: &str = "agent.sock";

/// The file name of the agent's bulk stream socket where it runs without a VM,
/// and of the machine's relay to it on the host.
pub const STREAM_SOCKET: &str = "stream.sock";

/// Where the guest mounts the host's shared folders: the host path `/home/me`
/// is `/mnt/host/home/me` in the guest, `C:\Users\me` is `/mnt/host/c/Users/me`.
pub const HOST_MOUNT: &str = "/mnt/host";

/// The largest gRPC message, bytes.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
