//! The agent: gRPC services, bulk streams, and the sockets they come in on.

mod connection;
mod containers;
pub(crate) mod engine;
mod images;
mod listener;
mod networks;
mod options;
mod resources;
mod stream;
mod system;
mod volumes;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use tonic::transport::Server;
use wherry_proto::v1::containers_server::ContainersServer;
use wherry_proto::v1::images_server::ImagesServer;
use wherry_proto::v1::networks_server::NetworksServer;
use wherry_proto::v1::system_server::SystemServer;
use wherry_proto::v1::volumes_server::VolumesServer;
use wherry_proto::{GRPC_PORT, GRPC_SOCKET, HOST_MOUNT, MAX_MESSAGE, STREAM_PORT, STREAM_SOCKET};

use crate::container::{Containers, Places};
use crate::event::Events;
use crate::image::Store;
use crate::listening::Listening;
use crate::network::{Network, Options as NetworkOptions, Prefix};
use crate::registry::Pulls;
use engine::EngineSocket;
use listener::Listener;
use options::{Listen, Options};

pub(crate) use connection::Connection;
pub(crate) use resources::{memory, resident};

/// The HTTP/2 windows, bytes. Calls are small: bulk bytes have streams of their own.
const WINDOW: u32 = 1024 * 1024;

/// What every service shares.
pub(crate) struct Agent {
    options: Options,
    events: Arc<Events>,
    images: Arc<Store>,
    pulls: Pulls,
    containers: Arc<Containers>,
    listening: Listening,
    engine: EngineSocket,
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
    // PID 1 starts it as /proc/self/exe, which would be its name otherwise.
    let _ = rustix::thread::set_name(c"wherry-serve");
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
    // Bound first: a host that connects early waits, and is not refused.
    let grpc = listen(&options, GRPC_PORT, GRPC_SOCKET)?;
    let streams = listen(&options, STREAM_PORT, STREAM_SOCKET)?;
    let events = Arc::new(Events::open(&options.run));
    let (images, network) = {
        let (root, network) = (options.root.clone(), network_options(&options));
        let handle = tokio::runtime::Handle::current();
        let network = tokio::task::spawn_blocking(move || {
            let _runtime = handle.enter();
            Network::open(network)
        });
        let images = tokio::task::spawn_blocking(move || Store::open(&root));
        (
            Arc::new(images.await?.context("cannot open the image store")?),
            network.await?.context("cannot set up the network")?,
        )
    };
    let places = Places {
        root: options.root.clone(),
        run: options.run.clone(),
        shares: match options.listen {
            Listen::Vsock => HOST_MOUNT.into(),
            Listen::Unix(_) => "/".into(),
        },
        own_machine: matches!(options.listen, Listen::Vsock),
        engine_socket: options.run.join(engine::FILE),
    };
    let engine = EngineSocket::open(&places.engine_socket, options.engine_socket)
        .context("cannot listen on the engine's socket")?;
    let containers = Containers::open(places, images.clone(), network, events.clone())
        .await
        .context("cannot read the containers")?;
    let pulls = Pulls::new(images.clone(), events.clone(), host_loopback(&options));
    let agent = Arc::new(Agent {
        options,
        events,
        images,
        pulls,
        containers,
        listening: Listening::default(),
        engine,
        ending: watch::Sender::new(false),
    });
    tokio::spawn(stream::serve(agent.clone(), streams));
    tokio::spawn(end_on_signal(agent.clone()));
    let mut ending = agent.ending.subscribe();
    let system = SystemServer::new(system::SystemService::new(agent.clone()));
    let images = ImagesServer::new(images::ImagesService::new(agent.clone()))
        .max_encoding_message_size(MAX_MESSAGE);
    let volumes = VolumesServer::new(volumes::VolumesService::new(agent.clone()))
        .max_encoding_message_size(MAX_MESSAGE);
    let networks = NetworksServer::new(networks::NetworksService::new(agent.clone()))
        .max_encoding_message_size(MAX_MESSAGE);
    let containers = ContainersServer::new(containers::ContainersService::new(agent))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(system)
        .add_service(images)
        .add_service(volumes)
        .add_service(networks)
        .add_service(containers)
        .serve_with_incoming_shutdown(grpc, async move {
            let _ = ending.wait_for(|ending| *ending).await;
        })
        .await
        .context("the gRPC server failed")
}

fn listen(options: &Options, port: u32, socket: &str) -> anyhow::Result<Listener> {
    match &options.listen {
        Listen::Vsock => {
            Listener::vsock(port).with_context(|| format!("cannot listen on vsock port {port}"))
        }
        Listen::Unix(directory) => {
            let path = directory.join(socket);
            std::fs::create_dir_all(directory)
                .and_then(|()| Listener::unix(&path))
                .with_context(|| format!("cannot listen on {}", path.display()))
        }
    }
}

fn network_options(options: &Options) -> NetworkOptions {
    let (root, run) = (&options.root, &options.run);
    match (&options.listen, options.network) {
        (_, false) => NetworkOptions::without_bridge(root, run),
        (Listen::Vsock, true) => NetworkOptions {
            avoided: host_routes(),
            ..NetworkOptions::guest(root, run)
        },
        (Listen::Unix(_), true) => NetworkOptions::process(root, run),
    }
}

/// Returns the host's networks, which `init` knows from the kernel's command line.
/// What cannot be read counts as not given.
fn host_routes() -> Vec<Prefix> {
    let routes = std::env::var("WHERRY_HOST_ROUTES").unwrap_or_default();
    routes
        .split(',')
        .filter_map(|route| route.parse().ok())
        .collect()
}

/// Returns the address under which the host's loopback is reached: a plain
/// process has the same one.
fn host_loopback(options: &Options) -> Ipv4Addr {
    match options.listen {
        Listen::Vsock => network_options(options).host_address,
        Listen::Unix(_) => Ipv4Addr::LOCALHOST,
    }
}

/// Ends the agent on SIGTERM or SIGINT. Containers go on.
async fn end_on_signal(agent: Arc<Agent>) {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = signal(SignalKind::terminate())
        .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    match signals {
        Ok((mut terminate, mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            agent.ending.send_replace(true);
        }
        Err(error) => tracing::warn!(%error, "cannot listen for signals"),
    }
}
