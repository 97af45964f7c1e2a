//! `serve`'s side of a shim: an asynchronous client of the shim's socket.

mod connection;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::protocol::{
    Answer, AttachOptions, Call, ExecSpec, ExitStatus, FailureKind, SOCKET, ShimConfig, ShimState,
    TerminalSize,
};
use connection::Connection;

/// What happens to a shim's processes, in order. After [`ShimEvent::Gone`]
/// nothing more comes.
pub(crate) type ShimEvents = mpsc::UnboundedReceiver<ShimEvent>;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShimEvent {
    /// The container ended. Comes at once on a connection made later.
    Exited(ExitStatus),
    /// An exec ended.
    ExecExited {
        /// Its id.
        exec: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The kernel killed a process of the container for want of memory: so many
    /// since the start. Comes at once on a connection made later.
    OutOfMemory(u64),
    /// The shim is no longer there: deleted or killed.
    Gone,
}

/// Why a shim did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    /// It refused, or tried and failed.
    #[error("{message}")]
    Refused {
        /// Which kind of failure.
        kind: FailureKind,
        /// What failed, for the user.
        message: String,
    },
    /// The shim ended, or never answered.
    #[error("the container's shim is gone")]
    Gone,
    /// The shim could not be started or reached.
    #[error("{action} {path}", path = path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl ShimError {
    /// Returns the exit code that the command line shows for it: 127 or 126
    /// for a command that cannot be run, otherwise 125.
    #[must_use]
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Refused {
                kind: FailureKind::CommandNotFound,
                ..
            } => 127,
            Self::Refused {
                kind: FailureKind::CommandNotExecutable,
                ..
            } => 126,
            _ => 125,
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// A container's shim. Clones share one connection.
#[derive(Clone, Debug)]
pub(crate) struct Shim {
    connection: Arc<Connection>,
}

impl Shim {
    /// Starts a shim for the container in `directory` (created where it is
    /// missing, on a tmpfs: sockets and the runtime's state live in it), and
    /// connects to it. The shim is in a session of its own and outlives the
    /// caller.
    ///
    /// # Errors
    ///
    /// [`ShimError::Io`].
    pub(crate) async fn spawn(directory: &Path) -> Result<(Self, ShimEvents), ShimError> {
        Self::spawn_program(Path::new("/proc/self/exe"), directory).await
    }

    /// As [`Shim::spawn`], with another agent binary than the running one.
    ///
    /// # Errors
    ///
    /// [`ShimError::Io`].
    pub(crate) async fn spawn_program(
        program: &Path,
        directory: &Path,
    ) -> Result<(Self, ShimEvents), ShimError> {
        let socket = directory.join(SOCKET);
        fs::create_dir_all(directory).map_err(ShimError::io("creating", directory))?;
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ShimError::io("replacing", &socket)(error));
            }
            _ => {}
        }
        // The socket is bound here and handed over as standard input, so that
        // it can be connected to before the shim has come up.
        let listener = UnixListener::bind(&socket).map_err(ShimError::io("binding", &socket))?;
        let mut child = tokio::process::Command::new(program)
            .arg("shim")
            .arg(directory)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(ShimError::io("starting a shim from", program))?;
        // Reaped here while this process lives; afterwards PID 1 does it.
        tokio::spawn(async move { child.wait().await });
        Self::connect(directory).await
    }

    /// Connects to the running shim of the container in `directory`.
    ///
    /// # Errors
    ///
    /// [`ShimError::Gone`] where none listens, [`ShimError::Io`].
    pub(crate) async fn connect(directory: &Path) -> Result<(Self, ShimEvents), ShimError> {
        let path = directory.join(SOCKET);
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Err(ShimError::Gone);
            }
            Err(error) => return Err(ShimError::io("connecting to", &path)(error)),
        };
        let (connection, receiver) = Connection::new(stream, directory.to_owned());
        let connection = Arc::new(connection);
        Ok((Self { connection }, receiver))
    }

    /// Writes the specification to the shim's directory and makes the
    /// container: everything but its command runs. Returns its process's id.
    ///
    /// # Errors
    ///
    /// [`FailureKind::CommandNotFound`] and [`FailureKind::CommandNotExecutable`]
    /// among the refusals, [`ShimError::Io`].
    pub(crate) async fn create(&self, config: &ShimConfig, spec: &Spec) -> Result<u32, ShimError> {
        let path = self.connection.directory.join("config.json");
        serde_json::to_vec(spec)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&path, bytes))
            .map_err(ShimError::io("writing", &path))?;
        self.pid(Call::Create(config.clone()), None).await
    }

    /// Runs the command of a created container.
    ///
    /// # Errors
    ///
    /// As for [`Shim::create`].
    pub(crate) async fn start(&self) -> Result<(), ShimError> {
        self.done(Call::Start, None).await
    }

    /// Sends a signal to the container's first process.
    ///
    /// # Errors
    ///
    /// [`FailureKind::WrongState`] when it does not run.
    pub(crate) async fn kill(&self, signal: i32) -> Result<(), ShimError> {
        self.done(Call::Kill(signal), None).await
    }

    /// Sends SIGKILL to every process of the container.
    ///
    /// # Errors
    ///
    /// [`ShimError::Refused`].
    pub(crate) async fn kill_all(&self) -> Result<(), ShimError> {
        self.done(Call::KillAll, None).await
    }

    /// Holds every process of the container where it is, or lets them go on.
    ///
    /// # Errors
    ///
    /// [`FailureKind::WrongState`] when it does not run.
    pub(crate) async fn freeze(&self, frozen: bool) -> Result<(), ShimError> {
        self.done(Call::Freeze(frozen), None).await
    }

    /// Hands the shim a bulk stream whose header was read: the shim sends the
    /// accepting reply and speaks the stream's frames on it from then on. The
    /// caller drops its own descriptor afterwards; on a failure the stream is
    /// still the caller's to answer on.
    ///
    /// A client attached before the start gets every byte, and slows the
    /// container down when it reads slowly.
    ///
    /// # Errors
    ///
    /// [`ShimError::Refused`].
    pub(crate) async fn attach(
        &self,
        stream: impl AsFd,
        options: AttachOptions,
    ) -> Result<(), ShimError> {
        self.done(Call::Attach(options), Some(stream.as_fd())).await
    }

    /// Runs a process in the container, with a bulk stream as for
    /// [`Shim::attach`] or detached. Returns its process's id.
    ///
    /// # Errors
    ///
    /// As for [`Shim::create`].
    pub(crate) async fn exec(
        &self,
        exec: ExecSpec,
        stream: Option<BorrowedFd<'_>>,
    ) -> Result<u32, ShimError> {
        self.pid(Call::Exec(exec), stream).await
    }

    /// Kills the process of an exec.
    ///
    /// # Errors
    ///
    /// [`FailureKind::NoSuchExec`] where it has ended.
    pub(crate) async fn kill_exec(&self, exec: &str) -> Result<(), ShimError> {
        self.done(Call::KillExec(exec.to_owned()), None).await
    }

    /// Sets a terminal's size: an exec's, or the container's own.
    ///
    /// # Errors
    ///
    /// [`FailureKind::WrongState`] where there is no terminal.
    pub(crate) async fn resize(
        &self,
        exec: Option<&str>,
        size: TerminalSize,
    ) -> Result<(), ShimError> {
        let exec = exec.map(str::to_owned);
        self.done(Call::Resize { exec, size }, None).await
    }

    /// Returns how the shim and its container are.
    ///
    /// # Errors
    ///
    /// [`ShimError::Gone`].
    pub(crate) async fn state(&self) -> Result<ShimState, ShimError> {
        match self.connection.call(Call::State, None).await? {
            Answer::State(state) => Ok(state),
            _ => Err(ShimError::Gone),
        }
    }

    /// Kills what is left of the container, removes its cgroup and the shim's
    /// directory, and ends the shim once attached clients have their last bytes.
    ///
    /// # Errors
    ///
    /// [`ShimError::Refused`].
    pub(crate) async fn delete(&self) -> Result<(), ShimError> {
        self.done(Call::Delete, None).await
    }

    async fn done(&self, call: Call, stream: Option<BorrowedFd<'_>>) -> Result<(), ShimError> {
        self.connection.call(call, stream).await.map(|_| ())
    }

    async fn pid(&self, call: Call, stream: Option<BorrowedFd<'_>>) -> Result<u32, ShimError> {
        match self.connection.call(call, stream).await? {
            Answer::Pid(pid) => Ok(pid),
            _ => Err(ShimError::Gone),
        }
    }
}
