//! Further processes in a running container.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wherry_proto::v1;

use super::error::Error;
use super::record::Status;
use super::{Container, Containers, blocking, chain, name, validate};
use crate::image::{User, resolve_user};
use crate::runtime::{ExecSpec, FailureKind, ShimError, TerminalSize};

/// How long an ended exec can still be asked about.
const REMEMBERED: Duration = Duration::from_secs(300);

/// One exec, from its making on.
#[derive(Debug)]
pub(super) struct Exec {
    /// The container's id.
    pub(super) container: String,
    request: v1::CreateExecRequest,
    state: State,
}

#[derive(Debug)]
enum State {
    Created(Instant),
    Started { pid: u32 },
    Ended { exit_code: i32, at: Instant },
}

impl Containers {
    pub(super) fn execs(&self) -> MutexGuard<'_, HashMap<String, Exec>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares an exec and returns its id.
    ///
    /// # Errors
    ///
    /// When the container does not run or the request makes no sense.
    pub(crate) async fn create_exec(
        &self,
        request: v1::CreateExecRequest,
    ) -> Result<String, Error> {
        let container = self.find(&request.container)?;
        running(&container)?;
        container.not_paused("unpause the container before exec")?;
        if request.cmd.first().is_none_or(String::is_empty) {
            return Err(Error::Invalid("No exec command specified".to_owned()));
        }
        validate::environment(&request.env)?;
        if !request.working_dir.is_empty() && !request.working_dir.starts_with('/') {
            let directory = &request.working_dir;
            return Err(Error::Invalid(format!(
                "Cwd must be an absolute path: {directory}"
            )));
        }
        user_of(&container, &request.user).await?;
        let id = name::new_id().map_err(|error| Error::io("making up an id", error))?;
        let action = format!("exec_create: {}", command_line(&request.cmd));
        self.publish(&container, &action, &[("execID", id.clone())]);
        let mut execs = self.execs();
        execs.retain(|_, exec| match exec.state {
            State::Ended { at, .. } | State::Created(at) => at.elapsed() < REMEMBERED,
            State::Started { .. } => true,
        });
        let exec = Exec {
            container: container.id.clone(),
            request,
            state: State::Created(Instant::now()),
        };
        execs.insert(id.clone(), exec);
        Ok(id)
    }

    /// Starts an exec. With a stream the container's shim answers on it and
    /// serves it; on an error it is still the caller's.
    ///
    /// # Errors
    ///
    /// When it is unknown, was started before, or its command cannot be run.
    pub(crate) async fn start_exec(
        &self,
        id: &str,
        stream: Option<impl AsFd>,
    ) -> Result<(), Error> {
        let (container, request) = {
            let mut execs = self.execs();
            let exec = execs
                .get_mut(id)
                .ok_or_else(|| Error::NoSuchExec(id.to_owned()))?;
            if !matches!(exec.state, State::Created(_)) {
                return Err(Error::State(format!("exec {id} has already been started")));
            }
            exec.state = State::Started { pid: 0 };
            (exec.container.clone(), exec.request.clone())
        };
        let started = self.run_exec(id, &container, request, stream).await;
        let mut execs = self.execs();
        if let Some(exec) = execs.get_mut(id) {
            match &started {
                // It may have ended already.
                Ok(pid) => {
                    if let State::Started { pid: known } = &mut exec.state {
                        *known = *pid;
                    }
                }
                Err(error) => {
                    let exit_code = match error {
                        Error::Start { exit_code, .. } => *exit_code,
                        _ => 125,
                    };
                    exec.state = State::Ended {
                        exit_code,
                        at: Instant::now(),
                    };
                }
            }
        }
        started.map(drop)
    }

    async fn run_exec(
        &self,
        id: &str,
        container: &str,
        request: v1::CreateExecRequest,
        stream: Option<impl AsFd>,
    ) -> Result<u32, Error> {
        let container = self.find(container)?;
        let shim = container.cell().shim.clone();
        let shim = shim.filter(|_| container.status() == Status::Running);
        let shim = shim.ok_or_else(|| not_running(&container))?;
        let user = user_of(&container, &request.user).await?;
        let mut env = request.env;
        let names =
            |env: &[String], name: &str| env.iter().any(|variable| variable.starts_with(name));
        if request.terminal && !names(&env, "TERM=") {
            env.push("TERM=xterm".to_owned());
        }
        if let Some(user) = &user
            && !names(&env, "HOME=")
        {
            env.push(format!("HOME={}", user.home));
        }
        let spec = ExecSpec {
            id: id.to_owned(),
            args: request.cmd,
            env,
            cwd: Some(request.working_dir).filter(|directory| !directory.is_empty()),
            user: user.map(super::root::runtime_user),
            terminal: request.terminal,
            terminal_size: terminal_size(request.terminal_rows, request.terminal_columns),
            open_stdin: request.open_stdin,
            privileged: request.privileged,
        };
        let action = format!("exec_start: {}", command_line(&spec.args));
        self.publish(&container, &action, &[("execID", id.to_owned())]);
        let stream = stream.as_ref().map(AsFd::as_fd);
        shim.exec(spec, stream).await.map_err(|error| match error {
            ShimError::Gone => not_running(&container),
            ShimError::Refused {
                kind: FailureKind::WrongState,
                ..
            } => not_running(&container),
            error => Error::Start {
                exit_code: error.exit_code(),
                message: chain(&error),
            },
        })
    }

    pub(super) fn exec_exited(&self, container: &Container, id: &str, exit_code: i32) {
        if let Some(exec) = self.execs().get_mut(id) {
            exec.state = State::Ended {
                exit_code,
                at: Instant::now(),
            };
        }
        let attributes = [
            ("execID", id.to_owned()),
            ("exitCode", exit_code.to_string()),
        ];
        self.publish(container, "exec_die", &attributes);
    }

    /// Settles the execs of a container that ended: what was not started is gone, what
    /// ran was killed.
    pub(super) fn end_execs(&self, container: &Container) {
        self.execs().retain(|_, exec| {
            if exec.container != container.id {
                return true;
            }
            if let State::Started { .. } = exec.state {
                exec.state = State::Ended {
                    exit_code: 128 + libc::SIGKILL,
                    at: Instant::now(),
                };
            }
            !matches!(exec.state, State::Created(_))
        });
    }

    /// Returns the ids of a container's execs that have not ended, sorted.
    pub(crate) fn execs_of(&self, container: &str) -> Vec<String> {
        let execs = self.execs();
        let live = execs.iter().filter(|(_, exec)| {
            exec.container == container && !matches!(exec.state, State::Ended { .. })
        });
        let mut ids: Vec<_> = live.map(|(id, _)| id.clone()).collect();
        ids.sort();
        ids
    }

    /// Returns an exec as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchExec`].
    pub(crate) fn inspect_exec(&self, id: &str) -> Result<v1::Exec, Error> {
        let execs = self.execs();
        let exec = execs
            .get(id)
            .ok_or_else(|| Error::NoSuchExec(id.to_owned()))?;
        let (running, exit_code, pid) = match exec.state {
            State::Created(_) => (false, 0, 0),
            State::Started { pid } => (true, 0, pid),
            State::Ended { exit_code, .. } => (false, exit_code, 0),
        };
        Ok(v1::Exec {
            id: id.to_owned(),
            container: exec.container.clone(),
            running,
            exit_code,
            pid,
            request: Some(exec.request.clone()),
            ended: matches!(exec.state, State::Ended { .. }),
        })
    }

    /// Sets the size of a container's terminal, or of an exec's, whose container need
    /// not be named.
    ///
    /// # Errors
    ///
    /// When it does not run or has no terminal.
    pub(crate) async fn resize(&self, request: v1::ResizeRequest) -> Result<(), Error> {
        let of_exec = || {
            let execs = self.execs();
            let exec = execs.get(&request.exec).map(|exec| exec.container.clone());
            exec.ok_or_else(|| Error::NoSuchExec(request.exec.clone()))
        };
        let container = match request.container.as_str() {
            "" => self.find(&of_exec()?)?,
            container => self.find(container)?,
        };
        running(&container)?;
        let size = terminal_size(request.rows, request.columns)
            .ok_or_else(|| Error::Invalid("a terminal has rows and columns".to_owned()))?;
        let shim = container.cell().shim.clone();
        let shim = shim.ok_or_else(|| not_running(&container))?;
        let exec = Some(request.exec.as_str()).filter(|exec| !exec.is_empty());
        shim.resize(exec, size).await.map_err(|error| match error {
            ShimError::Gone => not_running(&container),
            ShimError::Refused {
                kind: FailureKind::NoSuchExec,
                ..
            } => Error::NoSuchExec(request.exec.clone()),
            error => Error::State(format!(
                "cannot resize container {}: {}",
                container.name(),
                chain(&error)
            )),
        })?;
        if exec.is_none() {
            let attributes = [
                ("height", request.rows.to_string()),
                ("width", request.columns.to_string()),
            ];
            self.publish(&container, "resize", &attributes);
        }
        Ok(())
    }
}

/// Returns whom an exec runs as, where it says so.
async fn user_of(container: &Container, user: &str) -> Result<Option<User>, Error> {
    if user.is_empty() {
        return Ok(None);
    }
    let (root, user) = (container.paths.root(), user.to_owned());
    blocking(move || Ok(Some(resolve_user(&root, &user)?))).await
}

/// Returns a terminal's size, if it is known.
pub(super) fn terminal_size(rows: u32, columns: u32) -> Option<TerminalSize> {
    let (rows, columns) = (u16::try_from(rows).ok()?, u16::try_from(columns).ok()?);
    (rows > 0 && columns > 0).then_some(TerminalSize { rows, columns })
}

fn running(container: &Container) -> Result<(), Error> {
    match container.status() {
        Status::Running => Ok(()),
        Status::Restarting => Err(Error::State(format!(
            "Container {} is restarting, wait until the container is running",
            container.id
        ))),
        _ => Err(not_running(container)),
    }
}

fn not_running(container: &Container) -> Error {
    Error::State(format!("container {} is not running", container.id))
}

/// Returns a command as events tell it: Docker's word for the program, a space, and the
/// arguments, of which there may be none.
pub(super) fn command_line(command: &[String]) -> String {
    match command.split_first() {
        Some((program, arguments)) => format!("{program} {}", arguments.join(" ")),
        None => String::new(),
    }
}
