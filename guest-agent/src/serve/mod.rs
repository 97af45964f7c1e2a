//! The agent: gRPC services, bulk streams, and the sockets they come in on.

mod connection;
mod listener;
mod options;
mod resources;
mod system;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use tonic::transport::Server;
use wherry_proto::v1::system_server::SystemServer;
use wherry_proto::{GRPC_PORT, GRPC_SOCKET, MAX_MESSAGE};

use crate::event::Events;
use listener::Listener;
use options::{Listen, Options};

/// The HTTP/2 windows, bytes. Calls are small: bulk bytes have streams of their own.
const WINDOW: u32 = 1024 * 1024;

/// What every service shares.
pub(crate) struct Agent {
    options: Options,
    events: Events,
    /// Becomes true when the agent is to end.
    ending: watch::Sender<bool>,
}

/// Runs `serve` with the arguments after that word.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("wherry-agent serve: {error}");
            return ExitCode::from(2);
        }
    };
    // An arena for every thread would hold the memory of one long gone.
    // SAFETY: sets a number in the allocator, before any thread runs.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("WHERRY_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build();
    let end = runtime
        .context("cannot start the runtime")
        .and_then(|runtime| {
            let end = runtime.block_on(run(options));
            // Blocking work that is still under way has nobody to answer to.
            runtime.shutdown_background();
            end
        });
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    for directory in [&options.root, &options.run] {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let grpc = match &options.listen {
        Listen::Vsock => Listener::vsock(GRPC_PORT)
            .with_context(|| format!("cannot listen on vsock port {GRPC_PORT}"))?,
        Listen::Unix(directory) => {
            let path = directory.join(GRPC_SOCKET);
            Listener::unix(&path).with_context(|| format!("cannot listen on {}", path.display()))?
        }
    };
    let agent = Arc::new(Agent {
        options,
        events: Events::default(),
        ending: watch::Sender::new(false),
    });
    let mut ending = agent.ending.subscribe();
    let system = SystemServer::new(system::SystemService::new(agent.clone()))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(system)
        .serve_with_incoming_shutdown(grpc, async move {
            let _ = ending.wait_for(|ending| *ending).await;
        })
        .await
        .context("the gRPC server failed")
}
