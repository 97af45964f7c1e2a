//! A `wherryd` of its own home folder, and its Engine API's socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Daemon {
    home: tempfile::TempDir,
    process: Child,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    /// Starts one in a home folder that is there.
    pub(crate) fn of(home: tempfile::TempDir) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_wherryd"))
            .env("WHERRY_HOME", home.path())
            // A call that starts a machine is a failure here, on every computer.
            .env("WHERRY_GUEST", home.path().join("none"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { home, process };
        let deadline = Instant::now() + DEADLINE;
        while UnixStream::connect(daemon.socket()).is_err() {
            assert!(Instant::now() < deadline, "wherryd does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("run/docker.sock")
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Sends bytes, ends the stream, and returns all that comes back.
    pub(crate) fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have hung up on what it does not want to read.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> String {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        self.ask(&[head.as_bytes(), body].concat())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
