//! A foreground session: what `run`, `start -a`, `exec` and `attach` have in common.

use std::time::Duration;

use wherry_client::BulkStream;
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::{KillContainerRequest, WaitContainerRequest, WaitContainerResponse};

use crate::connection::Connection;
use crate::failure::{ENGINE, Failure, Outcome, PIPE_CLOSED};
use crate::output;
use crate::platform;
use crate::terminal::{self, DetachKeys, Ending, Input, RawMode, Target, Watch};

/// How long the end of a container's process may take to be on record, or to be followed
/// by its removal.
const SETTLED: Duration = Duration::from_secs(10);

/// How a command sits at a process.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Whose process it is.
    pub(crate) target: Target,
    /// Whether standard input is passed on.
    pub(crate) interactive: bool,
    /// Whether the process has a terminal.
    pub(crate) terminal: bool,
    /// Whether signals to this command go on to the container.
    pub(crate) signals: bool,
    /// Whether the container is this command's own, to be removed with it.
    pub(crate) owned: bool,
    /// The keys that leave it.
    pub(crate) detach_keys: DetachKeys,
}

/// Refuses `-i -t` where standard input is no terminal, before anything is made.
pub(crate) fn check_terminal(interactive: bool, terminal: bool) -> Result<(), Failure> {
    if interactive && terminal && !terminal::input_is_terminal() {
        return Err(Failure::new(
            "the input device is not a TTY: leave out -t to pipe into the container",
        )
        .with_code(ENGINE));
    }
    Ok(())
}

impl Session {
    /// Watches for signals from now on, so that none is lost during the start.
    pub(crate) fn watch(&self, connection: &Connection) -> Result<Watch, Failure> {
        let mut watch = Watch::default();
        if self.signals && !self.terminal {
            watch.signals(connection, &self.target.container)?;
        }
        Ok(watch)
    }

    /// Sits at the process until it ends. Returns its exit code.
    pub(crate) async fn sit(
        &self,
        connection: &Connection,
        stream: BulkStream,
        mut watch: Watch,
    ) -> Outcome {
        let typed = self.interactive && self.terminal && terminal::input_is_terminal();
        let input = match (self.interactive, typed) {
            (false, _) => Input::Nothing,
            (true, true) => Input::Typed(self.detach_keys.clone()),
            (true, false) => Input::All,
        };
        if self.terminal {
            watch.size(connection, &self.target)?;
        }
        let ending = if typed {
            let mut signals = platform::signals()
                .map_err(|error| Failure::new(format!("cannot watch for signals: {error}")))?;
            let raw = RawMode::enter()?;
            let ending = tokio::select! {
                ending = terminal::attach(stream, input) => ending,
                signal = terminal::ended_by_signal(&mut signals) => {
                    return Err(Failure::reported(128 + signal.number));
                }
            };
            drop(raw);
            ending
        } else {
            terminal::attach(stream, input).await
        };
        drop(watch);
        match ending? {
            Ending::Exited(code) => {
                self.settle(connection).await;
                Ok(exit_code(code))
            }
            Ending::Ended if self.target.exec.is_empty() => {
                let ended = self.wait(connection, Condition::NotRunning).await?;
                if self.owned {
                    self.settle(connection).await;
                }
                Ok(exit_code(ended.exit_code))
            }
            Ending::Ended => Err(Failure::new(
                "the process ended and its exit code is not known",
            )),
            Ending::Detached => {
                output::complain("detached, the container runs on");
                Ok(0)
            }
            Ending::OutputClosed => {
                if self.owned {
                    self.end(connection).await;
                    self.settle(connection).await;
                }
                Err(Failure::reported(PIPE_CLOSED))
            }
        }
    }

    /// Waits until the end of the process is on record, or its container gone if it is
    /// removed with it: whatever comes after this command finds it so, and its name free.
    async fn settle(&self, connection: &Connection) {
        if !self.target.exec.is_empty() {
            return;
        }
        let condition = match self.owned {
            true => Condition::Removed,
            false => Condition::NotRunning,
        };
        // It may be gone already.
        let _ = tokio::time::timeout(SETTLED, self.wait(connection, condition)).await;
    }

    async fn wait(
        &self,
        connection: &Connection,
        condition: Condition,
    ) -> Result<WaitContainerResponse, Failure> {
        let request = WaitContainerRequest {
            container: self.target.container.clone(),
            condition: condition.into(),
        };
        Ok(connection.containers().wait(request).await?.into_inner())
    }

    /// Ends a container that is this command's own, as a closed pipe ends any
    /// program of a pipeline. SIGPIPE itself does nothing to a process 1 that
    /// does not ask for it.
    async fn end(&self, connection: &Connection) {
        let request = KillContainerRequest {
            container: self.target.container.clone(),
            signal: "KILL".to_owned(),
        };
        // It may have ended by itself.
        let _ = connection.containers().kill(request).await;
    }
}

/// Returns the part of an exit code that this process can end with.
pub(crate) fn exit_code(code: i32) -> u8 {
    code.to_le_bytes()[0]
}
