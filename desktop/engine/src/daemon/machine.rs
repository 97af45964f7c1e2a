//! The machine process as `wherryd` sees it: started when it is needed, adopted
//! when it runs already, never owned.

use std::fs::File;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::process::Child;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;
use wherry_client::{ChannelError, Home, channel, lock};
use wherry_proto::v1::machine_client::MachineClient;
use wherry_proto::v1::{
    MachineProgress, MachineState, MachineStatusRequest, MachineStatusResponse, StopMachineRequest,
};

use super::follow;
use super::forward::chain;
use super::ports::Ports;

/// How long a machine process may take to answer on its socket, and to end.
const PROCESS_DEADLINE: Duration = Duration::from_secs(20);

/// How often a process that starts or ends is looked at.
pub(super) const POLL: Duration = Duration::from_millis(5);

pub(crate) struct MachineLink {
    home: Home,
    ports: Ports,
    /// Held by the start or stop under way, so that there is one at a time.
    turn: tokio::sync::Mutex<()>,
    guest: Mutex<Option<Channel>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

/// Returns a client of the machine process.
///
/// # Errors
///
/// `Unavailable` where none runs.
pub(super) async fn client(home: &Home) -> Result<MachineClient<Channel>, Status> {
    match channel(&home.machine_socket()).await {
        Ok(channel) => Ok(MachineClient::new(channel)),
        Err(error) => Err(unreachable(&error)),
    }
}

/// Returns a new channel to the guest's services.
///
/// # Errors
///
/// `Unavailable` where no machine runs.
pub(super) async fn guest_channel(home: &Home) -> Result<Channel, Status> {
    channel(&home.agent_socket())
        .await
        .map_err(|error| unreachable(&error))
}

fn unreachable(error: &ChannelError) -> Status {
    if error.nobody_listens() {
        Status::unavailable("the machine is not running: start it with `wherry machine start`")
    } else {
        Status::unavailable(chain(error))
    }
}

impl MachineLink {
    pub(super) fn new(home: Home) -> Self {
        Self {
            ports: Ports::new(home.clone()),
            home,
            turn: tokio::sync::Mutex::default(),
            guest: Mutex::default(),
            watcher: Mutex::default(),
        }
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(super) fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Takes over a machine that runs already.
    pub(super) async fn adopt(&self) {
        if let Ok(mut machine) = client(&self.home).await
            && let Ok(status) = machine.status(MachineStatusRequest {}).await
        {
            tracing::info!(pid = status.get_ref().pid, "adopted the machine");
            self.watch_events();
        }
    }

    /// Returns a channel to the guest's services.
    ///
    /// # Errors
    ///
    /// `Unavailable` where no machine runs.
    pub(crate) async fn guest(&self) -> Result<Channel, Status> {
        let cached = self
            .guest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(channel) = cached {
            return Ok(channel);
        }
        let channel = guest_channel(&self.home).await?;
        *self.guest.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel.clone());
        Ok(channel)
    }

    /// Returns a channel to the guest's services, whose machine is started where
    /// none runs.
    ///
    /// # Errors
    ///
    /// `Unavailable` where it does not start.
    pub(crate) async fn running_guest(self: &Arc<Self>) -> Result<Channel, Status> {
        if !self.watches() && !self.is_served_alone().await {
            // A start once begun is finished though the caller goes away: the
            // machine is everybody's.
            let link = self.clone();
            let (progress, mut ignored) = tokio::sync::mpsc::channel(16);
            let started = tokio::spawn(async move { link.start(&progress).await });
            while ignored.recv().await.is_some() {}
            started
                .await
                .map_err(|error| Status::internal(error.to_string()))??;
        }
        self.guest().await
    }

    /// Tells whether an agent answers that no machine process serves: one that
    /// runs on this computer itself, as in tests.
    async fn is_served_alone(&self) -> bool {
        let nobody = |error: ChannelError| error.nobody_listens();
        channel(&self.home.machine_socket())
            .await
            .is_err_and(nobody)
            && channel(&self.home.agent_socket()).await.is_ok()
    }

    /// Tells whether the guest's events are followed, which ends with the machine.
    fn watches(&self) -> bool {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Returns the machine's state; of one that does not run, how it ended.
    pub(crate) async fn status(&self) -> Result<MachineStatusResponse, Status> {
        match channel(&self.home.machine_socket()).await {
            Ok(channel) => {
                let answer = MachineClient::new(channel)
                    .status(MachineStatusRequest {})
                    .await?;
                Ok(answer.into_inner())
            }
            Err(error) if error.nobody_listens() => Ok(crate::machine::last_state(&self.home)),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// Starts the machine unless it runs, and tells what happens until it is
    /// ready.
    pub(super) async fn start(
        &self,
        progress: &Sender<Result<MachineProgress, Status>>,
    ) -> Result<(), Status> {
        let begun = Instant::now();
        let _turn = self.turn.lock().await;
        let mut child = None;
        self.let_go_of_ended().await?;
        let channel = match channel(&self.home.machine_socket()).await {
            Ok(channel) => channel,
            Err(error) if error.nobody_listens() => {
                report(
                    progress,
                    begun,
                    MachineState::Starting,
                    "starting the machine",
                )
                .await;
                self.forget_guest();
                let mut spawned = self.spawn()?;
                let channel = self.first_answer(&mut spawned).await?;
                child = Some(spawned);
                channel
            }
            Err(error) => return Err(unreachable(&error)),
        };
        if let Some(mut child) = child {
            // Reaped whenever it ends; it outlives this process otherwise.
            tokio::spawn(async move { child.wait().await });
        }
        self.follow_until_ready(channel, begun, progress).await?;
        self.watch_events();
        Ok(())
    }

    async fn follow_until_ready(
        &self,
        channel: Channel,
        begun: Instant,
        progress: &Sender<Result<MachineProgress, Status>>,
    ) -> Result<(), Status> {
        let mut states = MachineClient::new(channel)
            .watch(MachineStatusRequest {})
            .await?
            .into_inner();
        let mut warned = String::new();
        loop {
            let status = match states.message().await {
                Ok(Some(status)) => status,
                // It ended while it started, and left word of why.
                Ok(None) | Err(_) => crate::machine::last_state(&self.home),
            };
            // What a machine warns of while it starts is news; of what it warned at
            // an earlier start, only its status tells.
            let news = status.state() == MachineState::Starting;
            if news && !status.warning.is_empty() && status.warning != warned {
                warned.clone_from(&status.warning);
                let _ = progress
                    .send(Ok(MachineProgress {
                        state: status.state,
                        warning: status.warning.clone(),
                        elapsed_ms: elapsed_ms(begun),
                        ..MachineProgress::default()
                    }))
                    .await;
            }
            match status.state() {
                MachineState::Running => {
                    report(progress, begun, MachineState::Running, "ready").await;
                    return Ok(());
                }
                MachineState::Starting => {
                    let message = format!("booting the guest ({})", status.accelerator);
                    report(progress, begun, MachineState::Starting, &message).await;
                }
                MachineState::Paused => {
                    return Err(Status::failed_precondition(
                        "the machine is paused: run `wherry machine restart`",
                    ));
                }
                MachineState::Stopping => {
                    return Err(Status::unavailable(
                        "the machine is stopping: try again when it has stopped",
                    ));
                }
                MachineState::Failed | MachineState::Stopped | MachineState::Unspecified => {
                    let reason = if status.error.is_empty() {
                        "it ended without a word".to_owned()
                    } else {
                        status.error
                    };
                    return Err(Status::unavailable(format!(
                        "the machine did not start: {reason} (log: {})",
                        self.home.log().display()
                    )));
                }
            }
        }
    }

    /// Stops the machine and returns when it has ended.
    pub(super) async fn stop(&self, request: StopMachineRequest) -> Result<(), Status> {
        let _turn = self.turn.lock().await;
        let mut machine = match channel(&self.home.machine_socket()).await {
            Ok(channel) => MachineClient::new(channel),
            Err(error) if error.nobody_listens() => return Ok(()),
            Err(error) => return Err(unreachable(&error)),
        };
        self.stop_watching();
        machine.stop(request).await?;
        self.wait_for_end().await?;
        self.forget_guest();
        Ok(())
    }

    /// Where a machine failed and its process is on its way out but answers
    /// still, waits for its end: another one can start then.
    async fn let_go_of_ended(&self) -> Result<(), Status> {
        let Ok(mut machine) = client(&self.home).await else {
            // Its socket goes before its lock, which another one needs.
            let state = crate::machine::last_state(&self.home).state();
            if matches!(state, MachineState::Failed | MachineState::Stopped) {
                let _ = self.wait_for_end().await;
            }
            return Ok(());
        };
        let ended = match machine.status(MachineStatusRequest {}).await {
            Ok(status) => matches!(
                status.get_ref().state(),
                MachineState::Failed | MachineState::Stopped
            ),
            // It went while it was asked.
            Err(_) => true,
        };
        if ended {
            self.wait_for_end().await?;
        }
        Ok(())
    }

    async fn wait_for_end(&self) -> Result<(), Status> {
        let deadline = Instant::now() + PROCESS_DEADLINE;
        // The lock goes with the process, so a free one is a process that ended.
        while lock::is_held(&self.home.machine_lock()) {
            if Instant::now() > deadline {
                return Err(Status::deadline_exceeded(
                    "the machine process does not end: try `wherry machine stop --force`",
                ));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Child, Status> {
        let failed = |what: &str, error: std::io::Error| {
            Status::unavailable(format!("cannot {what}: {error}"))
        };
        let mut command =
            wherry_client::this_program().map_err(|e| failed("find this program", e))?;
        let log = self.home.log().join("machine.log");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|e| failed(&format!("open {}", log.display()), e))?;
        let errors = output.try_clone().map_err(|e| failed("share the log", e))?;
        command
            .arg("machine")
            .env(wherry_client::home::VARIABLE, self.home.root())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        wherry_client::detach(&mut command);
        command
            .spawn()
            .map_err(|e| failed("start the machine process", e))
    }

    /// Waits until a machine process that was just started serves its socket.
    async fn first_answer(&self, child: &mut Child) -> Result<Channel, Status> {
        let deadline = Instant::now() + PROCESS_DEADLINE;
        loop {
            match channel(&self.home.machine_socket()).await {
                Ok(channel) => return Ok(channel),
                Err(error) if error.nobody_listens() => {}
                Err(error) => return Err(unreachable(&error)),
            }
            if let Ok(Some(status)) = child.try_wait() {
                let left = crate::machine::last_state(&self.home).error;
                let reason = if left.is_empty() {
                    format!("its process ended with {status}")
                } else {
                    left
                };
                return Err(Status::unavailable(format!(
                    "the machine did not start: {reason} (log: {})",
                    self.home.log().display()
                )));
            }
            if Instant::now() > deadline {
                return Err(Status::unavailable(format!(
                    "the machine process does not answer (log: {})",
                    self.home.log().display()
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn forget_guest(&self) {
        *self.guest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Follows the guest's events for as long as the machine runs, to close the
    /// ports of containers that end, and to bind those of containers that the
    /// guest starts.
    fn watch_events(&self) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if watcher.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        *watcher = Some(tokio::spawn(follow::events(
            self.home.clone(),
            self.ports.clone(),
        )));
    }

    fn stop_watching(&self) {
        let watcher = self
            .watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = watcher {
            task.abort();
        }
    }
}

impl Drop for MachineLink {
    fn drop(&mut self) {
        self.stop_watching();
    }
}

async fn report(
    progress: &Sender<Result<MachineProgress, Status>>,
    begun: Instant,
    state: MachineState,
    message: &str,
) {
    // A caller that went away needs no report.
    let _ = progress
        .send(Ok(MachineProgress {
            state: state.into(),
            message: message.to_owned(),
            elapsed_ms: elapsed_ms(begun),
            ..MachineProgress::default()
        }))
        .await;
}

fn elapsed_ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
