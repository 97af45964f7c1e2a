//! The shim's loop: what can be polled, and what is done when it is ready.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::control::Connection;
use super::memory::release_program;
use super::stdio::{Output, Stdio};
use super::task::Task;
use super::time::now_ns;
use crate::runtime::protocol::{ExitStatus, Reply, ShimConfig, ShimStatus};
use crate::runtime::{Cgroup, MemoryEvents};

mod making;
mod requests;

use making::Making;

/// The size of the one buffer that all bytes pass through.
const BUFFER: usize = 32 * 1024;

/// How long after a request the memory that it took is given back. Not at once,
/// so that a short run does not wait for it.
const QUIET: Duration = Duration::from_secs(2);

/// What a polled descriptor belongs to, by place.
#[derive(Clone, Copy, Debug)]
enum Source {
    Listener,
    Signals,
    Memory,
    Connection(usize),
    Making(usize),
    Input(usize),
    Output(usize, Output),
    Stream(usize, usize),
}

/// A shim's state.
#[derive(Debug)]
pub(super) struct Server {
    directory: PathBuf,
    listener: Option<UnixListener>,
    signals: SignalFd,
    connections: Vec<Connection>,
    connected: u64,
    config: Option<ShimConfig>,
    status: ShimStatus,
    exit: Option<ExitStatus>,
    tasks: Vec<Task>,
    making: Vec<Making>,
    made: u64,
    /// What tells of the container's memory while there is its cgroup.
    memory: Option<MemoryEvents>,
    /// Processes of it that the kernel killed for want of memory.
    oom_kills: u64,
    /// Processes that ended before it was known whose they are.
    unclaimed: Vec<(i32, ExitStatus)>,
    /// When to give back memory.
    release_at: Option<Instant>,
    buffer: Vec<u8>,
}

impl Server {
    pub(super) fn new(directory: PathBuf, listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            directory,
            listener: Some(listener),
            signals: SignalFd::with_flags(&set, flags)?,
            connections: Vec::new(),
            connected: 0,
            config: None,
            status: ShimStatus::Empty,
            exit: None,
            tasks: vec![Task::new(None, Stdio::awaited(), false)],
            making: Vec::new(),
            made: 0,
            memory: None,
            oom_kills: 0,
            unclaimed: Vec::new(),
            release_at: None,
            buffer: vec![0; BUFFER],
        })
    }

    /// Runs until the container is deleted and every client has its last bytes.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            for (source, ready) in self.wait()? {
                self.handle(source, ready);
            }
            self.sweep();
            let deleted = self.listener.is_none();
            // A process leaves its cgroup a moment before it can be waited for.
            let busy = self
                .tasks
                .iter()
                .any(|task| task.pid.is_some() || !task.streams.is_empty())
                || self.connections.iter().any(Connection::wants_to_write);
            if deleted && !busy {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let mut sources = Vec::new();
        let mut polled = Vec::new();
        let mut add = |source: Source, descriptor: BorrowedFd<'_>, flags: PollFlags| {
            // SAFETY: what it borrows from lives in `self`, which outlives the
            // poll; the lifetime is only shortened by the closure.
            let descriptor =
                unsafe { BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(&descriptor)) };
            sources.push(source);
            polled.push(PollFd::new(descriptor, flags));
        };
        let (readable, writable) = (PollFlags::POLLIN, PollFlags::POLLOUT);
        if let Some(listener) = &self.listener {
            add(Source::Listener, listener.as_fd(), readable);
        }
        add(Source::Signals, self.signals.as_fd(), readable);
        if let Some(memory) = &self.memory {
            add(Source::Memory, memory.as_fd(), PollFlags::POLLPRI);
        }
        for (at, connection) in self.connections.iter().enumerate() {
            let mut flags = readable;
            flags.set(writable, connection.wants_to_write());
            add(Source::Connection(at), connection.to_poll(), flags);
        }
        for (at, making) in self.making.iter().enumerate() {
            add(Source::Making(at), making.creation.as_fd(), readable);
        }
        for (at, task) in self.tasks.iter().enumerate() {
            if let Some(input) = task.stdio.input_to_poll() {
                add(Source::Input(at), input, writable);
            }
            for output in [Output::Stdout, Output::Stderr] {
                let wanted = task.wants_output(output);
                if let Some(file) = task.stdio.output_to_poll(output).filter(|_| wanted) {
                    add(Source::Output(at, output), file, readable);
                }
            }
            for (index, stream) in task.streams.iter().enumerate() {
                let mut flags = PollFlags::empty();
                flags.set(readable, stream.wants_to_read() && task.stdio.has_room());
                flags.set(writable, stream.wants_to_write());
                add(Source::Stream(at, index), stream.to_poll(), flags);
            }
        }
        match poll(&mut polled, self.timeout()) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(sources
            .into_iter()
            .zip(polled)
            .filter_map(|(source, polled)| Some((source, polled.revents()?)))
            .filter(|(_, ready)| !ready.is_empty())
            .collect())
    }

    fn timeout(&self) -> PollTimeout {
        let deadlines = self.tasks.iter().filter_map(Task::deadline);
        let deadline = deadlines.chain(self.release_at).min();
        deadline.map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            let milliseconds = left.as_millis().saturating_add(1).min(60_000);
            PollTimeout::try_from(milliseconds as i32).unwrap_or(PollTimeout::MAX)
        })
    }

    fn handle(&mut self, source: Source, ready: PollFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap();
            }
            Source::Memory => self.look_at_memory(),
            Source::Connection(at) => {
                self.connections[at].flush();
                for (request, descriptor) in self.connections[at].receive() {
                    self.request(self.connections[at].id, request, descriptor);
                }
            }
            Source::Making(at) => self.making[at].ready = true,
            Source::Input(at) => self.tasks[at].stdio.write(),
            Source::Output(at, output) => self.tasks[at].pump_output(output, &mut self.buffer),
            Source::Stream(at, index) => {
                let task = &mut self.tasks[at];
                // A deletion handled just before lets go of the clients.
                let Some(stream) = task.streams.get_mut(index) else {
                    return;
                };
                if ready.contains(PollFlags::POLLOUT) {
                    stream.flush();
                }
                if ready.contains(PollFlags::POLLIN) {
                    task.pump_input(index, &mut self.buffer);
                } else if ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                    stream.hung_up();
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Some(Ok((socket, _))) = self.listener.as_ref().map(UnixListener::accept) {
            self.connected += 1;
            if let Ok(mut connection) = Connection::new(self.connected, socket) {
                if self.oom_kills > 0 {
                    connection.send(&Reply::OutOfMemory(self.oom_kills));
                }
                if let Some(exit) = self.exit {
                    connection.send(&Reply::Exited(exit));
                }
                self.connections.push(connection);
            }
        }
    }

    /// Takes the exit statuses of processes that ended.
    fn reap(&mut self) {
        while let Some((pid, code, signal)) = ended_child() {
            // Poll may not have told of what ended it yet.
            self.look_at_memory();
            let status = ExitStatus {
                code,
                signal,
                oom_kills: self.oom_kills,
                finished_ns: now_ns(),
            };
            let task = self.tasks.iter_mut().find(|task| task.pid == Some(pid));
            if let Some(task) = task {
                task.pid = None;
                task.exit = Some(status);
            } else if !self.making.is_empty() {
                self.unclaimed.push((pid, status));
            }
        }
    }

    /// Tells those connected when the kernel has killed more of the container's
    /// processes for want of memory. Not the first one's end tells so: it may
    /// live on, as a shell does whose command was killed.
    fn look_at_memory(&mut self) {
        match self.memory.as_ref().map(MemoryEvents::kills) {
            Some(Ok(kills)) if kills > self.oom_kills => {
                self.oom_kills = kills;
                for connection in &mut self.connections {
                    connection.send(&Reply::OutOfMemory(kills));
                }
            }
            // Removed, and ready for ever.
            Some(Err(_)) => self.memory = None,
            _ => {}
        }
    }

    fn cgroup(&self) -> Option<Cgroup> {
        let config = self.config.as_ref()?;
        Some(Cgroup::new(&config.cgroup))
    }

    /// Does what became due, and lets go of what is over.
    fn sweep(&mut self) {
        self.finish_making();
        for at in 0..self.tasks.len() {
            if self.tasks[at].step(&mut self.buffer) {
                self.ended(at);
            }
        }
        self.tasks
            .retain(|task| task.exec.is_none() || !task.is_over());
        self.connections.retain(|connection| !connection.closed);
        if self.release_at.is_some_and(|at| Instant::now() >= at) {
            self.release_at = None;
            release_program();
        }
    }

    fn ended(&mut self, at: usize) {
        let task = &self.tasks[at];
        let Some(status) = task.exit else {
            return;
        };
        let reply = match &task.exec {
            Some(exec) => Reply::ExecExited {
                exec: exec.clone(),
                status,
            },
            None => {
                self.status = ShimStatus::Exited;
                self.exit = Some(status);
                if let Err(error) = self.record(&status) {
                    eprintln!("an exit status could not be kept: {error}");
                }
                Reply::Exited(status)
            }
        };
        for connection in &mut self.connections {
            connection.send(&reply);
        }
    }

    /// Writes the exit status where a later `serve` finds it.
    fn record(&self, status: &ExitStatus) -> io::Result<()> {
        let Some(config) = &self.config else {
            return Ok(());
        };
        let new = config.exit.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(status)?)?;
        std::fs::rename(&new, &config.exit)
    }
}

/// Returns a child that ended: its id, exit code and the signal that ended it.
/// Not through nix, which has no real-time signals.
fn ended_child() -> Option<(i32, i32, Option<i32>)> {
    let mut status = 0;
    // SAFETY: writes to `status` alone.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    if pid <= 0 {
        return None;
    }
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        return Some((pid, 128 + signal, Some(signal)));
    }
    Some((pid, libc::WEXITSTATUS(status), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_left_as_the_container_was_deleted_are_passed_over() {
        let place = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(place.path().join("socket")).unwrap();
        let mut server = Server::new(place.path().to_owned(), listener).unwrap();
        // A deletion in the same round has let go of the client.
        for ready in [PollFlags::POLLIN, PollFlags::POLLOUT, PollFlags::POLLHUP] {
            server.handle(Source::Stream(0, 0), ready);
        }
    }
}
