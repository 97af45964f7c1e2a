//! `wherryd`: what the command, the app and Docker's tools talk to.
//!
//! It holds no state that matters. The machine process owns the VM and its
//! ports, the guest owns the containers; this process translates between users
//! and them, and can be killed and started again at any moment.

mod containers;
mod engine_service;
mod engine_socket;
mod follow;
mod forward;
mod listening;
mod machine;
mod networks;
mod ports;
pub(crate) mod shares;
mod volumes;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use wherry_client::local::{self, LocalListener};
use wherry_client::{Home, Program, Settings, connect_engine, lock};
use wherry_proto::v1::engine_server::EngineServer;

pub(crate) use containers::Translator;
use engine_service::EngineService;
use forward::Forward;
pub(crate) use machine::MachineLink;
pub(crate) use networks::create as create_network;
pub(crate) use volumes::create as create_volume;

pub use crate::api::TcpError;
use crate::api::{self, Api, Tcp};

/// How long calls have to come to their end when this process is told to end. Some,
/// as of who follows events, never do by themselves.
const GRACE: Duration = Duration::from_secs(1);

/// How long one that serves no longer may take until it is gone.
const PREDECESSOR: Duration = Duration::from_secs(5);

/// Why `wherryd` cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another one serves the same home folder.
    #[error("another wherryd serves {home}", home = home.display())]
    Running {
        /// The home folder.
        home: PathBuf,
    },
    /// The lock file cannot be opened.
    #[error("cannot lock {path}: {source}", path = path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] wherry_client::SettingsError),
    /// The socket cannot be listened on.
    #[error("cannot listen on {path}: {source}", path = path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The Engine API cannot be served over TCP as the settings say.
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// The server ended.
    #[error("the server failed")]
    Serve(#[from] tonic::transport::Error),
}

/// Serves until it is told to end, by `Engine.Shutdown` or a signal; calls that are
/// under way then have a second. The machine goes on either way.
///
/// # Errors
///
/// [`DaemonError`] where it cannot begin to serve.
pub async fn run(home: Home) -> Result<(), DaemonError> {
    let program = Program::current();
    let _single = take_lock(&home).await?;
    // Wrong settings are best told at once, to whoever started this process.
    let settings = Settings::load(&home)?;

    let listener = listen(home.wherryd_socket()).await?;
    let docker = listen(home.docker_socket()).await?;

    let end = CancellationToken::new();
    let link = Arc::new(MachineLink::new(home));
    let api = Api::new(link.clone());
    let tcp = Arc::new(Tcp::new(api.clone()));
    tcp.settle(settings.api.listener.as_ref()).await?;
    link.adopt().await;
    // Aborted with this process's own server.
    let _docker = AbortOnDropHandle::new(tokio::spawn(api::serve(docker, api)));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "wherryd serves");

    tokio::spawn({
        let end = end.clone();
        async move {
            ended_by_signal().await;
            end.cancel();
        }
    });
    let served = Server::builder()
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .add_service(EngineServer::new(EngineService::new(
            link.clone(),
            tcp,
            program,
            end.clone(),
        )))
        .add_service(Forward::system(link.clone()))
        .add_service(Forward::images(link.clone()))
        .add_service(Forward::volumes(link.clone()))
        .add_service(Forward::networks(link.clone()))
        .add_service(Forward::containers(link))
        .serve_with_incoming_shutdown(local::incoming(listener), end.cancelled());
    let too_long = async {
        end.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = served => served?,
        () = too_long => tracing::info!("what was under way is cut short"),
    }
    Ok(())
}

async fn listen(path: PathBuf) -> Result<LocalListener, DaemonError> {
    match local::listen(&path).await {
        Ok(listener) => Ok(listener),
        Err(source) => Err(DaemonError::Listen { path, source }),
    }
}

/// Takes the lock that makes this process the only one of its home folder, from one
/// that is about to end too.
async fn take_lock(home: &Home) -> Result<File, DaemonError> {
    let path = home.lock();
    let deadline = Instant::now() + PREDECESSOR;
    loop {
        match lock::take(&path, Duration::ZERO) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => {
                let serves = !matches!(connect_engine(home).await, Ok(None));
                if serves || Instant::now() > deadline {
                    return Err(DaemonError::Running {
                        home: home.root().to_owned(),
                    });
                }
                tokio::time::sleep(machine::POLL).await;
            }
            Err(source) => return Err(DaemonError::Lock { path, source }),
        }
    }
}

#[cfg(unix)]
async fn ended_by_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn ended_by_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
