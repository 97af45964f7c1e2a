//! Runs the agent as a plain process, in a mount namespace of its own where
//! `/sys/fs/cgroup` is cgroup v2, and talks to it as the host does.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use wherry_proto::frame::{
    Frame, Kind, read_frame, read_stream_reply, write_frame, write_stream_header,
};
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::images_client::ImagesClient;
use wherry_proto::v1::networks_client::NetworksClient;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::system_client::SystemClient;
use wherry_proto::v1::volumes_client::VolumesClient;
use wherry_proto::v1::{
    AttachStream, ContainerSpec, CreateContainerRequest, CreateNetworkRequest, ImportStream,
    LoadResult, LogsStream, StartContainerRequest, StreamHeader, StreamReply, WaitContainerRequest,
    wait_container_request::Condition,
};
use wherry_proto::{GRPC_SOCKET, STREAM_SOCKET, WIRE_VERSION};

/// Nothing in these tests takes as long.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The name of the image that every agent here has.
pub const IMAGE: &str = "box:latest";

/// An agent, its directories and its mount namespace.
pub struct Agent {
    directory: tempfile::TempDir,
    /// Holds the mount namespace while the agent is killed and started again.
    holder: Child,
    agent: Option<Child>,
    /// Whether its containers have bridge networks, in a namespace of its own.
    networked: bool,
    pub containers: ContainersClient<Channel>,
    pub images: ImagesClient<Channel>,
    pub volumes: VolumesClient<Channel>,
    pub networks: NetworksClient<Channel>,
    pub system: SystemClient<Channel>,
}

/// Tells, loudly, that a test did not run.
pub fn not_root(test: &str) -> bool {
    // SAFETY: asks for a number.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("SKIPPED {test}: containers need root");
    }
    !root
}

impl Agent {
    /// Starts an agent that has [`IMAGE`].
    pub async fn start() -> Self {
        Self::start_with(None, false).await
    }

    /// Starts an agent in a network namespace of its own, whose containers have
    /// bridge networks.
    pub async fn start_networked() -> Self {
        Self::start_with(None, true).await
    }

    /// Starts an agent whose data disk holds only so many bytes.
    pub async fn start_on(disk: Option<u64>) -> Self {
        Self::start_with(disk, false).await
    }

    async fn start_with(disk: Option<u64>, networked: bool) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("wherry-serve-")
            .tempdir()
            .unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        let holder = holder(directory.path(), disk, networked);
        let socket = directory.path().join(GRPC_SOCKET);
        let channel = channel(&socket);
        let mut agent = Self {
            containers: ContainersClient::new(channel.clone()),
            images: ImagesClient::new(channel.clone()),
            volumes: VolumesClient::new(channel.clone()),
            networks: NetworksClient::new(channel.clone()),
            networked,
            system: SystemClient::new(channel),
            directory,
            holder,
            agent: None,
        };
        agent.serve().await;
        let result = agent
            .import(IMAGE, &root_file_system(), &["CMD [\"sh\"]"])
            .await
            .unwrap();
        assert_eq!(result.images.len(), 1);
        agent
    }

    /// The agent's durable directory, as the agent's namespace has it.
    pub fn root(&self) -> PathBuf {
        let directory = self.directory.path().strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.holder.id()))
            .join(directory)
            .join("root")
    }

    /// Lets the agent find a name at the loopback.
    pub fn add_host(&self, name: &str) {
        let file = self.directory.path().join("hosts");
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        fs::write(&file, format!("127.0.0.1 {name}\n{hosts}")).unwrap();
        let mounted = Command::new("nsenter")
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .args(["mount", "--bind"])
            .arg(&file)
            .arg("/etc/hosts")
            .status();
        assert!(mounted.unwrap().success());
    }

    /// Starts `serve` and waits until it answers.
    pub async fn serve(&mut self) {
        let namespace = File::open(format!("/proc/{}/ns/mnt", self.holder.id())).unwrap();
        let directory = self.directory.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wherry-agent"));
        command
            .arg("serve")
            .arg("--root")
            .arg(directory.join("root"))
            .arg("--run")
            .arg(directory.join("run"))
            .arg("--listen")
            .arg(format!("unix:{}", directory.display()))
            .env(
                "WHERRY_LOG",
                std::env::var("WHERRY_LOG").unwrap_or("warn".to_owned()),
            );
        let network = match self.networked {
            true => Some(File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap()),
            false => {
                command.args(["--network", "none"]);
                None
            }
        };
        // SAFETY: system calls alone between fork and exec.
        unsafe {
            command.pre_exec(move || {
                for namespace in [Some(&namespace), network.as_ref()].into_iter().flatten() {
                    if libc::setns(namespace.as_raw_fd(), 0) != 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        self.agent = Some(command.spawn().unwrap());
        let begun = Instant::now();
        let info = wherry_proto::v1::InfoRequest {
            wire_version: WIRE_VERSION,
            ..Default::default()
        };
        while let Err(error) = self.system.info(info.clone()).await {
            assert!(
                begun.elapsed() < DEADLINE,
                "the agent does not answer: {error}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills `serve` with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// Ends the agent, its shims and containers, and with them what the machine
    /// holds only while it runs.
    pub fn cut_power(&mut self) {
        self.kill();
        self.end_containers();
        let run = PathBuf::from(format!("/proc/{}/root", self.holder.id()))
            .join(self.directory.path().strip_prefix("/").unwrap())
            .join("run");
        let _ = fs::remove_dir_all(run);
    }

    /// The socket that leads containers to the engine, as it is reached from here.
    pub fn engine_socket(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.holder.id()))
            .join(self.directory.path().strip_prefix("/").unwrap())
            .join("run/engine.sock")
    }

    /// Process id of `serve`.
    pub fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// Process id of what holds its mount namespace.
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// Opens a bulk stream, and returns it with the guest's reply.
    pub async fn stream(&self, purpose: Purpose) -> (UnixStream, StreamReply) {
        let mut stream = UnixStream::connect(self.directory.path().join(STREAM_SOCKET))
            .await
            .unwrap();
        let header = StreamHeader {
            wire_version: WIRE_VERSION,
            purpose: Some(purpose),
        };
        write_stream_header(&mut stream, &header).await.unwrap();
        let reply = within(read_stream_reply(&mut stream)).await.unwrap();
        (stream, reply)
    }

    /// Imports a root file system.
    pub async fn import(
        &self,
        tag: &str,
        tar: &[u8],
        changes: &[&str],
    ) -> Result<LoadResult, StreamReply> {
        let changes = changes.iter().map(|change| (*change).to_owned()).collect();
        let import = ImportStream {
            tag: tag.to_owned(),
            changes,
            message: String::new(),
        };
        let (mut stream, reply) = self.stream(Purpose::Import(import)).await;
        assert_eq!(reply.error, "");
        for chunk in tar.chunks(64 * 1024) {
            // The guest may have given up on it already.
            if write_frame(&mut stream, Kind::Data, chunk).await.is_err() {
                break;
            }
        }
        let _ = write_frame(&mut stream, Kind::End, &[]).await;
        loop {
            let frame = within(read_frame(&mut stream))
                .await
                .unwrap()
                .expect("an answer");
            match frame.kind {
                Kind::Result => return Ok(LoadResult::decode(frame.payload).unwrap()),
                Kind::Failure => return Err(StreamReply::decode(frame.payload).unwrap()),
                _ => {}
            }
        }
    }

    /// Makes a container of [`IMAGE`] that runs a shell script.
    pub async fn create(
        &mut self,
        script: &str,
        change: impl FnOnce(&mut ContainerSpec),
    ) -> String {
        let mut spec = ContainerSpec {
            image: IMAGE.to_owned(),
            cmd: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
            network: "none".to_owned(),
            ..Default::default()
        };
        change(&mut spec);
        self.try_create(spec).await.unwrap()
    }

    /// Makes a network; returns its id.
    pub async fn create_network(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut CreateNetworkRequest),
    ) -> Result<String, tonic::Status> {
        let mut request = CreateNetworkRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        change(&mut request);
        Ok(within(self.networks.create(request)).await?.into_inner().id)
    }

    /// Makes a container of any specification.
    pub async fn try_create(&mut self, spec: ContainerSpec) -> Result<String, tonic::Status> {
        let request = CreateContainerRequest { spec: Some(spec) };
        Ok(within(self.containers.create(request))
            .await?
            .into_inner()
            .id)
    }

    /// Starts a container.
    pub async fn run(&mut self, id: &str) -> Result<(), tonic::Status> {
        let request = StartContainerRequest {
            container: id.to_owned(),
            bound_ports: Vec::new(),
        };
        within(self.containers.start(request)).await.map(drop)
    }

    /// Waits for a container, and returns its exit code.
    pub async fn wait(&mut self, id: &str, condition: Condition) -> i32 {
        let request = WaitContainerRequest {
            container: id.to_owned(),
            condition: condition.into(),
        };
        within(self.containers.wait(request))
            .await
            .unwrap()
            .into_inner()
            .exit_code
    }

    /// Attaches to all of a container's streams.
    pub async fn attach(&self, id: &str) -> UnixStream {
        let attach = AttachStream {
            container: id.to_owned(),
            stdin: true,
            stdout: true,
            stderr: true,
            logs: false,
        };
        let (stream, reply) = self.stream(Purpose::Attach(attach)).await;
        assert_eq!(reply.error, "");
        stream
    }

    /// Reads a container's log.
    pub async fn logs(&self, id: &str, change: impl FnOnce(&mut LogsStream)) -> String {
        let mut logs = LogsStream {
            container: id.to_owned(),
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        change(&mut logs);
        let (mut stream, reply) = self.stream(Purpose::Logs(logs)).await;
        assert_eq!(reply.error, "");
        let output = within(collect(&mut stream)).await;
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        self.end_containers();
        let cgroups = PathBuf::from(format!(
            "/proc/{}/root/sys/fs/cgroup/wherry-containers",
            self.holder.id()
        ));
        // Of the tests that run beside this one, the last succeeds.
        let _ = fs::remove_dir(&cgroups);
        // With the namespace go its mounts.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Agent {
    /// Ends every shim and container of this agent.
    fn end_containers(&self) {
        let directory = self.directory.path().to_owned();
        // Shims first, so that none notices its container's end.
        for process in processes() {
            let command = fs::read(process.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command);
            if command.contains("shim")
                && command.contains(&*directory.to_string_lossy())
                && let Some(pid) = process
                    .file_name()
                    .and_then(|name| name.to_str()?.parse::<i32>().ok())
            {
                // SAFETY: sends a signal.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        let cgroups = PathBuf::from(format!(
            "/proc/{}/root/sys/fs/cgroup/wherry-containers",
            self.holder.id()
        ));
        for container in fs::read_dir(self.root().join("containers"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let cgroup = cgroups.join(container.file_name());
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
            let begun = Instant::now();
            while cgroup.exists()
                && fs::remove_dir(&cgroup).is_err()
                && begun.elapsed() < Duration::from_secs(5)
            {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn processes() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// Output of a process, as it came over a stream.
#[derive(Debug, Default)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: Option<i32>,
}

/// Reads a stream to its End.
pub async fn collect(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Output {
    let mut output = Output::default();
    while let Some(Frame { kind, payload }) = read_frame(stream).await.unwrap() {
        match kind {
            Kind::Stdout => output.stdout.extend_from_slice(&payload),
            Kind::Stderr => output.stderr.extend_from_slice(&payload),
            Kind::Exit => {
                output.exit_code = Some(i32::from_be_bytes(payload[..].try_into().unwrap()))
            }
            Kind::End => return output,
            Kind::Failure => panic!("{:?}", StreamReply::decode(payload)),
            _ => {}
        }
    }
    panic!("the stream was cut off after {output:?}");
}

/// Awaits something, but not for ever.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("done before the deadline")
}

fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    Endpoint::from_static("http://agent").connect_with_connector_lazy(tower::service_fn(
        move |_: Uri| {
            let socket = socket.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        },
    ))
}

/// Starts a process that holds a mount namespace with cgroup v2, and where the
/// data disk is of that size.
fn holder(directory: &Path, disk: Option<u64>, networked: bool) -> Child {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let root = CString::new(directory.join("root").as_os_str().as_bytes()).unwrap();
    let size = disk.map(|disk| CString::new(format!("size={disk}")).unwrap());
    let mut command = Command::new("sleep");
    command.arg("infinity").stdin(Stdio::null());
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let mount =
                |source: &std::ffi::CStr, target: &std::ffi::CStr, kind: &std::ffi::CStr, flags| {
                    let result = libc::mount(
                        source.as_ptr(),
                        target.as_ptr(),
                        kind.as_ptr(),
                        flags,
                        std::ptr::null(),
                    );
                    if result == 0 {
                        Ok(())
                    } else {
                        Err(std::io::Error::last_os_error())
                    }
                };
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            let network = if networked { libc::CLONE_NEWNET } else { 0 };
            if libc::unshare(libc::CLONE_NEWNS | network) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            mount(c"none", c"/", c"none", libc::MS_REC | libc::MS_PRIVATE)?;
            mount(c"cgroup2", c"/sys/fs/cgroup", c"cgroup2", 0)?;
            if let Some(size) = &size {
                let kind = c"tmpfs".as_ptr();
                if libc::mount(kind, root.as_ptr(), kind, 0, size.as_ptr().cast()) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    // Returns once the program runs, and so once the namespace is made.
    command.spawn().unwrap()
}

/// Makes the tar of a root file system with a static busybox.
pub fn root_file_system() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("the Debian package busybox-static");
    let mut tar = tar::Builder::new(Vec::new());
    let mut add =
        |path: &str, kind: tar::EntryType, mode: u32, content: &[u8], link: Option<&str>| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(content.len() as u64);
            if let Some(link) = link {
                header.set_link_name(link).unwrap();
            }
            tar.append_data(&mut header, path, content).unwrap();
        };
    for directory in ["bin/", "etc/", "proc/", "sys/", "dev/", "tmp/", "data/"] {
        add(directory, tar::EntryType::Directory, 0o755, &[], None);
    }
    add(
        "bin/busybox",
        tar::EntryType::Regular,
        0o755,
        &busybox,
        None,
    );
    for applet in [
        "sh", "cat", "sleep", "echo", "true", "false", "ls", "wc", "id", "hostname", "dd", "seq",
        "pwd", "touch", "md5sum", "mount",
    ] {
        add(
            &format!("bin/{applet}"),
            tar::EntryType::Symlink,
            0o777,
            &[],
            Some("busybox"),
        );
    }
    add(
        "etc/passwd",
        tar::EntryType::Regular,
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        None,
    );
    add(
        "etc/group",
        tar::EntryType::Regular,
        0o644,
        b"root:x:0:\nuser:x:1000:\n",
        None,
    );
    add(
        "etc/plain",
        tar::EntryType::Regular,
        0o644,
        b"no program",
        None,
    );
    add(
        "data/seed",
        tar::EntryType::Regular,
        0o640,
        b"from the image",
        None,
    );
    tar.into_inner().unwrap()
}
