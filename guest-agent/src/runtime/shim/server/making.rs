//! Making the container and its execs: what is begun, and what is done with its
//! result when it comes.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::log::Log;
use super::super::stdio::Stdio;
use super::super::stream::Stream;
use super::super::task::Task;
use super::requests::{fail, io_failure, not_running};
use super::{QUIET, Server};
use crate::runtime::protocol::{
    Answer, AttachOptions, ExecSpec, Failure, FailureKind, ShimConfig, ShimStatus, TerminalSize,
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

impl Server {
    pub(super) fn create(
        &mut self,
        connection: u64,
        number: u64,
        config: ShimConfig,
    ) -> Result<(), Failure> {
        if self.status != ShimStatus::Empty || !self.making.is_empty() {
            return Err(fail(
                FailureKind::WrongState,
                "the container was made before",
            ));
        }
        let log = match &config.log {
            Some(path) => Some(
                Log::open(path, config.log_limits)
                    .map_err(io_failure("opening the container's log"))?,
            ),
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

    pub(super) fn exec(
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
        // None where this hierarchy has no memory controller.
        self.memory = self.cgroup().and_then(|cgroup| cgroup.memory_events().ok());
        self.look_at_memory();
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

/// libcontainer leaves each exec's sockets behind.
fn remove_leftovers(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("tenant-") {
            let _ = fs::remove_file(entry.path());
        }
    }
}
