//! The life of the machine process.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::transport::Server;
use wherry_client::{Home, Program, local, lock};
use wherry_proto::v1::MachineState;
use wherry_proto::v1::machine_server::MachineServer;
use wherry_proto::{GRPC_PORT, STREAM_PORT};

use super::board::{Board, console_log};
use super::boot::{Booted, boot, known_warning};
use super::config::MachineConfig;
use super::ports::Ports;
use super::service::{MachineService, Owned, Shared};
use super::stop::{self, CONTAINERS, StopOrder};
use super::{MachineError, clock, relay};
use crate::platform;
use crate::vm::{End, VmState, hypervisor};

/// How long the answers under way may take when the machine has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long the lock may be held by those who only ask whether it is.
const ASKED: Duration = Duration::from_millis(200);

/// The console log beyond which a new one is begun, bytes.
const LONG_LOG: u64 = 8 << 20;

/// Runs the machine of `home` until it is stopped.
///
/// # Errors
///
/// [`MachineError`]: what kept it from starting, or how it ended on its own. The
/// same is recorded for [`super::last_state`].
pub async fn run(home: Home) -> Result<(), MachineError> {
    let program = Program::current();
    let _single = take_lock(&home)?;
    platform::raise_open_file_limit();
    let board = Arc::new(Board::new(home.clone()));
    let shared = Arc::new(Shared::new(board.clone()));

    let path = home.machine_socket();
    let listener = local::listen(&path)
        .await
        .map_err(|source| fail(&board, MachineError::File { path, source }))?;
    let end = Arc::new(Notify::new());
    let ended = end.clone();
    let server = Server::builder()
        .add_service(MachineServer::new(MachineService::new(
            shared.clone(),
            program,
        )))
        .serve_with_incoming_shutdown(local::incoming(listener), async move {
            ended.notified().await;
        });
    let server = tokio::spawn(server);
    let signals = tokio::spawn(heed_signals(shared.clone()));

    let result = own(&home, &shared).await;
    shared.disown();
    signals.abort();
    match &result {
        Ok(()) => {
            tracing::info!("the machine has stopped");
            board.update(|status| {
                status.hypervisor_pid = 0;
                status.set_state(MachineState::Stopped);
            });
        }
        Err(error) => {
            tracing::error!("{error}");
            board.update(|status| {
                status.hypervisor_pid = 0;
                status.error = error.to_string();
                status.set_state(MachineState::Failed);
            });
        }
    }
    // Whoever watches is told before the process goes.
    end.notify_one();
    let abort = server.abort_handle();
    if tokio::time::timeout(LAST_ANSWERS, server).await.is_err() {
        abort.abort();
    }
    for socket in [
        home.machine_socket(),
        home.agent_socket(),
        home.stream_socket(),
    ] {
        let _ = std::fs::remove_file(socket);
    }
    result
}

fn fail(board: &Board, error: MachineError) -> MachineError {
    board.update(|status| {
        status.error = error.to_string();
        status.set_state(MachineState::Failed);
    });
    error
}

/// Boots the VM and sees to it until its end.
async fn own(home: &Home, shared: &Arc<Shared>) -> Result<(), MachineError> {
    let board = &shared.board;
    let config = MachineConfig::load(home)?;
    let hypervisor = hypervisor(config.kind(), &config.options())?;
    board.update(|status| {
        hypervisor.kind().name().clone_into(&mut status.hypervisor);
        status.cpus = config.settings.cpus;
        status.memory = config.settings.memory;
        status.shares = config
            .shares
            .iter()
            .map(|share| share.folder.to_string_lossy().into_owned())
            .collect();
    });
    let blank = config.clone();
    tokio::task::spawn_blocking(move || blank.prepare_disk())
        .await
        .unwrap_or_else(|error| {
            Err(MachineError::Ended {
                reason: error.to_string(),
            })
        })?;
    begin_console_log(home);

    // Polled here and not in a task: the VM goes with the thread that starts it,
    // and this is the main thread.
    let booted = tokio::select! {
        booted = boot(hypervisor.as_ref(), &config, board) => booted?,
        _ = shared.stopping.ordered() => {
            tracing::info!("stopped while booting");
            return Ok(());
        }
    };
    let warning = known_warning(hypervisor.as_ref(), &config);
    let ports = Arc::new(Ports::new(&booted.vm, config.settings.publish_address));
    attend(home, shared, booted, ports, warning).await
}

/// Sees to a VM whose guest answers, until its end.
async fn attend(
    home: &Home,
    shared: &Arc<Shared>,
    booted: Booted,
    ports: Arc<Ports>,
    warning: Option<String>,
) -> Result<(), MachineError> {
    let Booted { vm, mut guest } = booted;
    let board = &shared.board;
    let wake = Arc::new(Notify::new());
    let listen = async |path: PathBuf, port| {
        relay::listen(&path, &vm, port)
            .await
            .map_err(|source| MachineError::File { path, source })
    };
    let _relays = [
        listen(home.agent_socket(), GRPC_PORT).await?,
        listen(home.stream_socket(), STREAM_PORT).await?,
    ];
    let mut tasks = JoinSet::new();
    tasks.spawn(clock::keep(guest.clone(), wake.clone()));
    let kept = ports.clone();
    tasks.spawn(async move { kept.keep().await });
    shared.own(Owned {
        vm: vm.clone(),
        ports: ports.clone(),
        wake: wake.clone(),
    });
    board.update(|status| {
        status.ready_ms = board.elapsed_ms();
        status.warning = warning.unwrap_or_default();
        status.set_state(MachineState::Running);
    });
    tracing::info!(ready_ms = board.elapsed_ms(), "the machine is ready");

    let mut state = vm.state();
    let end = loop {
        let change = tokio::select! {
            changed = state.changed() => match changed {
                Ok(()) => state.borrow_and_update().clone(),
                Err(_) => VmState::Ended(End::Failed("the VM is gone".to_owned())),
            },
            order = shared.stopping.ordered() => {
                tracing::info!(?order, "stopping the machine");
                board.set_state(MachineState::Stopping);
                stop::stop(vm.as_ref(), &mut guest, &shared.stopping).await;
                stop::ended(vm.as_ref()).await;
                // Ended as ordered, however it went.
                return Ok(());
            }
        };
        match change {
            VmState::Running => {
                wake.notify_one();
                ports.wake();
                board.update(|status| {
                    status.error.clear();
                    status.set_state(MachineState::Running);
                });
            }
            VmState::Stalled(reason) => board.update(|status| {
                status.error = reason;
                status.set_state(MachineState::Paused);
            }),
            VmState::Paused => board.set_state(MachineState::Paused),
            VmState::Ended(end) => break end,
        }
    };
    match end {
        End::PoweredOff => Ok(()),
        End::Failed(reason) => Err(MachineError::Ended { reason }),
    }
}

/// Takes the lock that makes this process the only one of its home folder.
fn take_lock(home: &Home) -> Result<File, MachineError> {
    let path = home.machine_lock();
    match lock::take(&path, ASKED) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(MachineError::Running {
            home: home.root().to_owned(),
        }),
        Err(source) => Err(MachineError::File { path, source }),
    }
}

/// Keeps the console log from growing with every boot: one that has become long
/// is kept as the old one.
fn begin_console_log(home: &Home) {
    let log = console_log(home);
    if log
        .metadata()
        .is_ok_and(|metadata| metadata.len() > LONG_LOG)
    {
        let _ = std::fs::rename(&log, log.with_extension("old.log"));
    }
}

/// Stops the machine on a signal, and forces it on the second.
async fn heed_signals(shared: Arc<Shared>) {
    let mut order = StopOrder::Graceful(CONTAINERS);
    let mut signals = Signals::new();
    loop {
        signals.next().await;
        shared.stopping.order(order);
        order = StopOrder::Force;
    }
}

#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::terminate(), SignalKind::interrupt()];
        Self(
            kinds
                .into_iter()
                .filter_map(|kind| signal(kind).ok())
                .collect(),
        )
    }

    fn next(&mut self) -> impl Future<Output = ()> {
        std::future::poll_fn(|context| {
            match self
                .0
                .iter_mut()
                .any(|signal| signal.poll_recv(context).is_ready())
            {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
