//! What `serve` asks for, done.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use super::super::stream::Stream;
use super::super::task::Task;
use super::{QUIET, Server};
use crate::runtime::protocol::{
    Answer, AttachOptions, Call, Failure, FailureKind, Reply, Request, ShimState, ShimStatus,
    TerminalSize,
};
use crate::runtime::run_oci;

pub(super) fn fail(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure {
        kind,
        message: message.into(),
    }
}

pub(super) fn io_failure(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| fail(FailureKind::Other, format!("{what}: {error}"))
}

pub(super) fn not_running() -> Failure {
    fail(FailureKind::WrongState, "the container is not running")
}

impl Server {
    /// Answers a request, now or when what it began is finished.
    pub(super) fn request(&mut self, connection: u64, request: Request, stream: Option<OwnedFd>) {
        let number = request.number;
        self.release_at = Some(Instant::now() + QUIET);
        let result = match request.call {
            Call::Create(config) => match self.create(connection, number, config) {
                Ok(()) => return,
                Err(failure) => Err(failure),
            },
            Call::Exec(exec) => match self.exec(connection, number, exec, stream) {
                Ok(()) => return,
                Err(failure) => Err(failure),
            },
            Call::Start => self.start(),
            Call::Kill(signal) => self.kill(None, signal),
            Call::KillExec(exec) => self.kill(Some(&exec), libc::SIGKILL),
            Call::KillAll => self.cgroup().map_or(Ok(Answer::Done), |cgroup| {
                cgroup
                    .kill()
                    .map(|()| Answer::Done)
                    .map_err(io_failure("killing the container's processes"))
            }),
            Call::Freeze(frozen) => self.freeze(frozen),
            Call::Attach(options) => self.attach(options, stream),
            Call::Resize { exec, size } => self.resize(exec.as_deref(), size),
            Call::State => Ok(Answer::State(self.state())),
            Call::Delete => self.delete(),
        };
        self.answer(connection, number, result);
    }

    pub(super) fn answer(&mut self, connection: u64, number: u64, result: Result<Answer, Failure>) {
        let reply = match result {
            Ok(answer) => Reply::Answer { number, answer },
            Err(failure) => Reply::Failure { number, failure },
        };
        let asker = self.connections.iter_mut().find(|one| one.id == connection);
        if let Some(asker) = asker {
            asker.send(&reply);
        }
    }

    pub(super) fn main_task(&mut self) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.exec.is_none())
    }

    pub(super) fn task(&mut self, exec: Option<&str>) -> Result<&mut Task, Failure> {
        match exec {
            None => self.main_task().ok_or_else(not_running),
            Some(exec) => self
                .tasks
                .iter_mut()
                .find(|task| task.exec.as_deref() == Some(exec))
                .ok_or_else(|| fail(FailureKind::NoSuchExec, format!("no such exec: {exec}"))),
        }
    }

    fn start(&mut self) -> Result<Answer, Failure> {
        if self.status != ShimStatus::Created {
            return Err(fail(
                FailureKind::WrongState,
                "the container was started before, or not made",
            ));
        }
        // The OCI start, which libcontainer's init process waits for.
        UnixStream::connect(run_oci::START_SOCKET)
            .and_then(|mut socket| socket.write_all(b"start container"))
            .map_err(io_failure("starting the container"))?;
        self.status = ShimStatus::Running;
        mark_running().map_err(io_failure("recording the start"))?;
        Ok(Answer::Done)
    }

    fn kill(&mut self, exec: Option<&str>, signal: i32) -> Result<Answer, Failure> {
        let pid = self.task(exec)?.pid.ok_or_else(not_running)?;
        // SAFETY: only sends a signal. The process is not reaped yet, so the
        // number is still its own. Not through nix, which has no real-time signals.
        if unsafe { libc::kill(pid, signal) } != 0 {
            return Err(io_failure("sending the signal")(io::Error::last_os_error()));
        }
        Ok(Answer::Done)
    }

    fn freeze(&mut self, frozen: bool) -> Result<Answer, Failure> {
        let cgroup = self.cgroup().filter(|_| self.status == ShimStatus::Running);
        let what = if frozen { "pausing" } else { "resuming" };
        cgroup
            .ok_or_else(not_running)?
            .freeze(frozen)
            .map(|()| Answer::Done)
            .map_err(io_failure(what))
    }

    fn attach(
        &mut self,
        options: AttachOptions,
        socket: Option<OwnedFd>,
    ) -> Result<Answer, Failure> {
        let foreground = matches!(self.status, ShimStatus::Empty | ShimStatus::Created);
        let socket = socket.ok_or_else(|| fail(FailureKind::Other, "no stream came with it"))?;
        let task = self.task(None)?;
        let stream = Stream::accept(socket, options).map_err(io_failure("the client's stream"))?;
        task.attach(stream, foreground);
        Ok(Answer::Done)
    }

    fn resize(&mut self, exec: Option<&str>, size: TerminalSize) -> Result<Answer, Failure> {
        let resized = self.task(exec)?.stdio.resize(size);
        match resized.map_err(io_failure("setting the terminal's size"))? {
            true => Ok(Answer::Done),
            false => Err(fail(FailureKind::WrongState, "it has no terminal")),
        }
    }

    fn state(&mut self) -> ShimState {
        ShimState {
            shim_pid: std::process::id(),
            status: self.status,
            pid: self
                .main_task()
                .and_then(|task| task.pid)
                .map_or(0, i32::unsigned_abs),
            exit: self.exit,
            execs: self
                .tasks
                .iter()
                .filter(|task| task.pid.is_some())
                .filter_map(|task| task.exec.clone())
                .collect(),
            paused: self.status == ShimStatus::Running
                && self.cgroup().is_some_and(|cgroup| cgroup.is_frozen()),
        }
    }

    fn delete(&mut self) -> Result<Answer, Failure> {
        if !self.making.is_empty() {
            return Err(fail(
                FailureKind::WrongState,
                "a process is being made in the container",
            ));
        }
        self.memory = None;
        if let Some(cgroup) = self.cgroup() {
            cgroup
                .remove()
                .map_err(io_failure("removing the container's cgroup"))?;
        }
        self.reap();
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_failure("removing the runtime's directory")(error));
            }
            _ => {}
        }
        // Clients of what never ran have nothing to wait for.
        for task in &mut self.tasks {
            if task.pid.is_none() && task.exit.is_none() {
                task.streams.clear();
            }
        }
        self.listener = None;
        Ok(Answer::Done)
    }
}

/// libcontainer runs execs only in containers whose recorded state is running.
fn mark_running() -> io::Result<()> {
    let path = Path::new(run_oci::NAME).join("state.json");
    let state = fs::read_to_string(&path)?;
    fs::write(
        path,
        state.replacen("\"status\":\"created\"", "\"status\":\"running\"", 1),
    )
}
