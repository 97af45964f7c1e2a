//! A container to test with: busybox, a shim, and clients of its streams.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use wherry_proto::frame::{Kind, read_frame, write_bytes, write_frame};

use super::runtime::spec::{self, ContainerDescription};
use super::runtime::{
    AttachOptions, ExecSpec, ExitStatus, Shim, ShimConfig, ShimError, ShimEvent, ShimEvents,
};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const STATUS: &str = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status";

/// A test in a mount namespace with cgroup version 2, on a runtime of one
/// thread, which is the one that is in the namespace.
macro_rules! test {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            super::container::run($body);
        }
    };
}
pub(crate) use test;

pub(crate) fn run(test: impl Future<Output = ()>) {
    if !isolate() {
        return;
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, test).await })
        .expect("the test took too long");
}

fn isolate() -> bool {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let none: Option<&str> = None;
    let made = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
        .and_then(|()| {
            mount(
                Some("cgroup2"),
                "/sys/fs/cgroup",
                Some("cgroup2"),
                MsFlags::empty(),
                none,
            )
        });
    let ready = made.is_ok() && Path::new("/bin/busybox").exists();
    if !ready {
        eprintln!("SKIPPED: needs root, cgroup version 2 and busybox-static ({made:?})");
    }
    ready
}

pub(crate) struct Container {
    place: TempDir,
    description: ContainerDescription,
    config: ShimConfig,
    pub(crate) shim: Shim,
    events: ShimEvents,
}

impl Container {
    /// A container that was made and not started.
    pub(crate) async fn make(args: &[&str]) -> Self {
        Self::with(args, |_, _| {}).await
    }

    pub(crate) async fn with(
        args: &[&str],
        change: impl FnOnce(&mut ContainerDescription, &mut ShimConfig),
    ) -> Self {
        let container = Self::prepare(args, change).await;
        container.create().await.unwrap();
        container
    }

    /// A shim whose container is not made yet.
    pub(crate) async fn prepare(
        args: &[&str],
        change: impl FnOnce(&mut ContainerDescription, &mut ShimConfig),
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("test-{}-{number}", std::process::id());
        let place = tempfile::tempdir().unwrap();
        let rootfs = place.path().join("rootfs");
        busybox(&rootfs);
        let cgroup = PathBuf::from(format!("/wherry-{id}"));
        let mut description = ContainerDescription {
            rootfs,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            hostname: "test".to_owned(),
            cgroup: cgroup.clone(),
            ..ContainerDescription::default()
        };
        let mut config = ShimConfig {
            id,
            log: Some(place.path().join("container.log")),
            log_limits: Default::default(),
            exit: place.path().join("exit.json"),
            cgroup,
            terminal: false,
            terminal_size: None,
            open_stdin: false,
            stdin_once: false,
        };
        change(&mut description, &mut config);
        let (shim, events) = spawn(&place.path().join("shim")).await;
        Self {
            place,
            description,
            config,
            shim,
            events,
        }
    }

    /// The same with another shim, whose start is so seen by the caller.
    pub(crate) async fn respawn(&mut self) {
        self.shim.delete().await.unwrap();
        let directory = self.place.path().join("shim");
        (self.shim, self.events) = spawn(&directory).await;
    }

    pub(crate) async fn create(&self) -> Result<u32, ShimError> {
        let spec = spec::container(&self.description).unwrap();
        self.shim.create(&self.config, &spec).await
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.description.rootfs.clone()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.place.path().join("container.log")
    }

    pub(crate) fn recorded(&self) -> Option<ExitStatus> {
        ExitStatus::read(&self.config.exit).unwrap()
    }

    pub(crate) async fn event(&mut self) -> ShimEvent {
        self.events.recv().await.unwrap()
    }

    pub(crate) async fn exited(&mut self) -> ExitStatus {
        loop {
            match self.event().await {
                ShimEvent::Exited(status) => return status,
                ShimEvent::Gone => panic!("the shim has gone"),
                ShimEvent::ExecExited { .. } | ShimEvent::OutOfMemory(_) => {}
            }
        }
    }

    pub(crate) async fn reconnect(&mut self) {
        let directory = self.place.path().join("shim");
        (self.shim, self.events) = Shim::connect(&directory).await.unwrap();
    }

    pub(crate) async fn attach_all(&self) -> UnixStream {
        self.attach(AttachOptions {
            stdin: true,
            stdout: true,
            stderr: true,
            logs: false,
        })
        .await
    }

    pub(crate) async fn attach(&self, options: AttachOptions) -> UnixStream {
        let (ours, theirs) = stream();
        self.shim.attach(&theirs, options).await.unwrap();
        ours
    }

    pub(crate) async fn exec(&self, id: &str, args: &[&str]) -> Result<u32, ShimError> {
        self.shim.exec(exec_spec(id, args), None).await
    }

    /// Deletes the container, and checks that nothing of it is left.
    pub(crate) async fn delete(&self) {
        self.shim.delete().await.unwrap();
        assert!(!self.place.path().join("shim").exists());
        let cgroup = self.config.cgroup.strip_prefix("/").unwrap();
        assert!(!Path::new("/sys/fs/cgroup").join(cgroup).exists());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What a failed test leaves.
        let cgroup = super::runtime::Cgroup::new(&self.config.cgroup);
        let _ = cgroup.remove();
    }
}

async fn spawn(directory: &Path) -> (Shim, ShimEvents) {
    // Another one than cargo built, to measure what is released.
    let agent = std::env::var_os("WHERRY_TEST_AGENT");
    let agent = agent.unwrap_or_else(|| env!("CARGO_BIN_EXE_wherry-agent").into());
    Shim::spawn_program(Path::new(&agent), directory)
        .await
        .unwrap()
}

fn busybox(rootfs: &Path) {
    let bin = rootfs.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for name in [
        "sh", "cat", "true", "sleep", "seq", "head", "wc", "sha1sum", "grep", "stty", "tty",
        "touch", "pwd", "unshare",
    ] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
}

pub(crate) fn sha1sum(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output = Command::new("sha1sum").arg(file.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..40].to_owned()
}

pub(crate) fn exec_spec(id: &str, args: &[&str]) -> ExecSpec {
    ExecSpec {
        id: id.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: Vec::new(),
        cwd: None,
        user: None,
        terminal: false,
        terminal_size: None,
        open_stdin: false,
        privileged: false,
    }
}

/// A bulk stream: the client's end and the one to hand over.
pub(crate) fn stream() -> (UnixStream, StdUnixStream) {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (UnixStream::from_std(ours).unwrap(), theirs)
}

pub(crate) async fn send_data(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    write_bytes(writer, Kind::Data, bytes).await.unwrap();
}

pub(crate) async fn send_input(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    send_data(writer, bytes).await;
    write_frame(writer, Kind::End, &[]).await.unwrap();
}

#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) code: Option<i32>,
}

impl Output {
    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

/// Reads the accepting reply.
pub(crate) async fn accepted(reader: &mut (impl AsyncRead + Unpin)) {
    let reply = wherry_proto::frame::read_stream_reply(reader)
        .await
        .unwrap();
    assert_eq!(reply.error, "");
}

/// Reads the accepting reply, then frames to the end.
pub(crate) async fn collect(reader: &mut (impl AsyncRead + Unpin)) -> Output {
    accepted(reader).await;
    collect_rest(reader).await
}

/// Reads frames to the end.
pub(crate) async fn collect_rest(reader: &mut (impl AsyncRead + Unpin)) -> Output {
    let mut output = Output::default();
    loop {
        let frame = read_frame(reader).await.unwrap().expect("cut off");
        match frame.kind {
            Kind::Stdout => output.stdout.extend_from_slice(&frame.payload),
            Kind::Stderr => output.stderr.extend_from_slice(&frame.payload),
            Kind::Exit => {
                let code: [u8; 4] = frame.payload.as_ref().try_into().unwrap();
                output.code = Some(i32::from_be_bytes(code));
            }
            Kind::End => return output,
            other => panic!("{other:?}"),
        }
    }
}

/// Reads what is left, which is not to the end of a stream's protocol.
pub(crate) async fn read_to_end(reader: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(reader, &mut bytes)
        .await
        .unwrap();
    bytes
}

/// Reads output until it has shown a text.
pub(crate) async fn read_until(reader: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        let frame = read_frame(reader).await.unwrap().expect("cut off");
        assert_eq!(frame.kind, Kind::Stdout);
        seen.push_str(std::str::from_utf8(&frame.payload).unwrap());
    }
}

pub(crate) async fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Returns how much of a process is in memory, KiB. The process does nothing
/// for it, and so touches no page.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Tells whether a process sleeps in a write to a pipe.
pub(crate) fn blocked_in_write(pid: u32) -> bool {
    // The system call's number comes first (proc(5)).
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    call.split_whitespace().next() == Some(&libc::SYS_write.to_string())
}
