//! What `serve` asks for, done.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::log::Log;
use super::super::stdio::Stdio;
use super::super::stream::Stream;
use super::super::task::Task;
use super::{QUIET, Server};
use crate::runtime::protocol::{
    Answer, AttachOptions, Call, ExecSpec, Failure, FailureKind, Reply, Request, ShimConfig,
    ShimState, ShimStatus, TerminalSize,
};
use crate::runtime::run_oci::{self, Creation, Made, Streams};

/// A process being made, and who asked for it.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) creation: Creation,
    /// Its result can be read.
    pub(super) ready: bool,
    /// An exec's task; the container's own is in the server already.
    exec: Option<Task>,
    console: Option<Console>,
    connection: u64,
    number: u64,
}

/// Where a terminal's master arrives.
#[derive(Debug)]
struct Console {
    listener: UnixListener,
    path: PathBuf,
    size: Option<TerminalSize>,
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn fail(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure {
        kind,
        message: message.into(),
    }
}

fn io_failure(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| fail(FailureKind::Other, format!("{what}: {error}"))
}

fn not_running() -> Failure {
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
            Call::Kill(signal) => self.kill(signal),
            Call::KillAll => self.cgroup().map_or(Ok(Answer::Done), |cgroup| {
                cgroup
                    .kill()
                    .map(|()| Answer::Done)
                    .map_err(io_failure("killing the container's processes"))
            }),
            Call::Attach(options) => self.attach(options, stream),
            Call::Resize { exec, size } => self.resize(exec.as_deref(), size),
            Call::State => Ok(Answer::State(self.state())),
            Call::Delete => self.delete(),
        };
        self.answer(connection, number, result);
    }

    fn answer(&mut self, connection: u64, number: u64, result: Result<Answer, Failure>) {
        let reply = match result {
            Ok(answer) => Reply::Answer { number, answer },
            Err(failure) => Reply::Failure { number, failure },
        };
        let asker = self.connections.iter_mut().find(|one| one.id == connection);
        if let Some(asker) = asker {
            asker.send(&reply);
        }
    }

    fn main_task(&mut self) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.exec.is_none())
    }

    fn task(&mut self, exec: Option<&str>) -> Result<&mut Task, Failure> {
        match exec {
            None => self.main_task().ok_or_else(not_running),
            Some(exec) => self
                .tasks
                .iter_mut()
                .find(|task| task.exec.as_deref() == Some(exec))
                .ok_or_else(|| fail(FailureKind::NoSuchExec, format!("no such exec: {exec}"))),
        }
    }

    fn create(&mut self, connection: u64, number: u64, config: ShimConfig) -> Result<(), Failure> {
        if self.status != ShimStatus::Empty || !self.making.is_empty() {
            return Err(fail(
                FailureKind::WrongState,
                "the container was made before",
            ));
        }
        let log = match &config.log {
            Some(path) => Some(Log::open(path).map_err(io_failure("opening the container's log"))?),
            None => None,
        };
        let (stdio, streams, console) =
            self.streams(config.terminal, config.terminal_size, config.open_stdin)?;
        let directory = self.directory.clone();
        let creation = run_oci::in_child(&kept(&streams), move || {
            run_oci::create(&directory, streams)
        })
        .map_err(io_failure("starting the creation of the container"))?;
        if let Some(task) = self.main_task() {
            task.open(stdio, config.stdin_once, log);
        }
        self.config = Some(config);
        self.making.push(Making {
            creation,
            ready: false,
            exec: None,
            console,
            connection,
            number,
        });
        Ok(())
    }

    fn exec(
        &mut self,
        connection: u64,
        number: u64,
        exec: ExecSpec,
        socket: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        if self.status != ShimStatus::Running {
            return Err(not_running());
        }
        if self.task(Some(&exec.id)).is_ok() {
            return Err(fail(FailureKind::WrongState, "the exec runs already"));
        }
        let (stdio, streams, console) =
            self.streams(exec.terminal, exec.terminal_size, exec.open_stdin)?;
        let mut task = Task::new(Some(exec.id.clone()), stdio, true);
        // The stream is accepted only once the command runs, so that a failure
        // can still be answered on it.
        task.pending = socket;
        task.takes_input = exec.open_stdin;
        let directory = self.directory.clone();
        let creation = run_oci::in_child(&kept(&streams), move || {
            run_oci::exec(&directory, &exec, streams)
        })
        .map_err(io_failure("starting the exec"))?;
        self.making.push(Making {
            creation,
            ready: false,
            exec: Some(task),
            console,
            connection,
            number,
        });
        Ok(())
    }

    /// Makes the standard streams of a process to be made.
    fn streams(
        &mut self,
        terminal: bool,
        size: Option<TerminalSize>,
        open_stdin: bool,
    ) -> Result<(Stdio, Streams, Option<Console>), Failure> {
        if !terminal {
            let (stdio, theirs) =
                Stdio::pipes(open_stdin).map_err(io_failure("making standard streams"))?;
            return Ok((stdio, Streams::Pipes(theirs), None));
        }
        self.made += 1;
        // Relative, for a socket's address is short; this is the directory.
        let path = PathBuf::from(format!("console-{}.sock", self.made));
        let listener = UnixListener::bind(&path).map_err(io_failure("making a console socket"))?;
        listener
            .set_nonblocking(true)
            .map_err(io_failure("making a console socket"))?;
        let streams = Streams::Terminal(self.directory.join(&path));
        let console = Console {
            listener,
            path,
            size,
        };
        Ok((Stdio::default(), streams, Some(console)))
    }

    /// Takes the results of creations that have come.
    pub(super) fn finish_making(&mut self) {
        let mut at = 0;
        while at < self.making.len() {
            let making = &mut self.making[at];
            match making.creation.poll().filter(|_| making.ready) {
                None => {
                    making.ready = false;
                    at += 1;
                }
                Some(result) => {
                    let making = self.making.remove(at);
                    self.made(making, result);
                }
            }
        }
        if self.making.is_empty() {
            self.unclaimed.clear();
        }
    }

    fn made(&mut self, making: Making, result: Result<Made, Failure>) {
        let (connection, number) = (making.connection, making.number);
        let result = result.and_then(|made| match making.exec {
            None => self.container_made(made, making.console),
            Some(task) => self.exec_made(made, task, making.console),
        });
        if result.is_err() && self.status == ShimStatus::Empty {
            self.unmake();
        }
        self.release_at = Some(Instant::now() + QUIET);
        if self.making.is_empty() {
            remove_leftovers(Path::new(run_oci::NAME));
        }
        self.answer(connection, number, result);
    }

    fn container_made(&mut self, made: Made, console: Option<Console>) -> Result<Answer, Failure> {
        let exit = self.claim(made.pid);
        let task = self.main_task().ok_or_else(not_running)?;
        if let Some(console) = console {
            take_terminal(&mut task.stdio, &console, made.uid)
                .map_err(io_failure("the terminal"))?;
        }
        task.pid = Some(made.pid).filter(|_| exit.is_none());
        task.exit = exit;
        self.status = ShimStatus::Created;
        Ok(Answer::Pid(made.pid.unsigned_abs()))
    }

    fn exec_made(
        &mut self,
        made: Made,
        mut task: Task,
        console: Option<Console>,
    ) -> Result<Answer, Failure> {
        let exit = self.claim(made.pid);
        task.pid = Some(made.pid).filter(|_| exit.is_none());
        task.exit = exit;
        if let Some(console) = console {
            take_terminal(&mut task.stdio, &console, made.uid)
                .map_err(io_failure("the terminal"))?;
        }
        if let Some(socket) = task.pending.take() {
            let options = AttachOptions {
                stdin: task.takes_input,
                stdout: true,
                stderr: true,
                logs: false,
            };
            let stream =
                Stream::accept(socket, options).map_err(io_failure("the exec's stream"))?;
            task.attach(stream, true);
        }
        self.tasks.push(task);
        Ok(Answer::Pid(made.pid.unsigned_abs()))
    }

    fn claim(&mut self, pid: i32) -> Option<crate::runtime::ExitStatus> {
        let at = self.unclaimed.iter().position(|(one, _)| *one == pid)?;
        Some(self.unclaimed.swap_remove(at).1)
    }

    /// Takes back what a creation that failed left.
    fn unmake(&mut self) {
        if let Some(cgroup) = self.cgroup()
            && let Err(error) = cgroup.remove()
        {
            eprintln!("a cgroup could not be removed: {error}");
        }
        let _ = fs::remove_dir_all(run_oci::NAME);
        let _ = fs::remove_dir_all(run_oci::BUNDLE);
        if let Some(task) = self.main_task() {
            task.open(Stdio::awaited(), false, None);
        }
        self.config = None;
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

    fn kill(&mut self, signal: i32) -> Result<Answer, Failure> {
        let pid = self.task(None)?.pid.ok_or_else(not_running)?;
        // SAFETY: only sends a signal. The process is not reaped yet, so the
        // number is still its own. Not through nix, which has no real-time signals.
        if unsafe { libc::kill(pid, signal) } != 0 {
            return Err(io_failure("sending the signal")(io::Error::last_os_error()));
        }
        Ok(Answer::Done)
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
        }
    }

    fn delete(&mut self) -> Result<Answer, Failure> {
        if !self.making.is_empty() {
            return Err(fail(
                FailureKind::WrongState,
                "a process is being made in the container",
            ));
        }
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

fn kept(streams: &Streams) -> Vec<RawFd> {
    match streams {
        Streams::Pipes(pipes) => pipes.iter().map(AsRawFd::as_raw_fd).collect(),
        Streams::Terminal(_) => Vec::new(),
    }
}

/// Receives a terminal's master; libcontainer sent it before it was done.
fn take_terminal(stdio: &mut Stdio, console: &Console, uid: u32) -> io::Result<()> {
    let (socket, _) = console.listener.accept()?;
    let mut connection = super::Connection::new(0, socket)?;
    connection.read_all();
    let master = connection
        .take_descriptor()
        .ok_or_else(|| io::Error::other("no terminal arrived"))?;
    give_terminal(&master, uid);
    stdio.terminal(master)?;
    if let Some(size) = console.size {
        stdio.resize(size)?;
    }
    Ok(())
}

/// Lets the process's user open its terminal again, as runc does.
fn give_terminal(master: &OwnedFd, uid: u32) {
    if uid == 0 {
        return;
    }
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let given = rustix::pty::ioctl_tiocgptpeer(master, flags)
        .map_err(io::Error::from)
        .and_then(|terminal| Ok(nix::unistd::fchown(terminal, Some(uid.into()), None)?));
    if let Err(error) = given {
        eprintln!("a terminal could not be given to user {uid}: {error}");
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

/// libcontainer leaves each exec's sockets behind.
fn remove_leftovers(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("tenant-") {
            let _ = fs::remove_file(entry.path());
        }
    }
}
