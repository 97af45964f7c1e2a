//! A guest that runs `peer.rs` as its PID 1, in QEMU.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wherry_vsock::{ConnectError, Connector, Stream, VsockDevice};

pub(crate) struct Vm {
    qemu: Child,
    folder: PathBuf,
    pub(crate) device: VsockDevice,
    pub(crate) connector: Connector,
    /// Where QEMU forwards to the peer's TCP port.
    pub(crate) forward: SocketAddr,
}

impl Vm {
    /// Boots the kernel. `WHERRY_TEST_MODULES` may name modules to load, separated by
    /// colons, for a kernel that has no vsock built in.
    pub(crate) fn boot(kernel: &Path) -> Self {
        let folder = std::env::temp_dir().join(format!("wherry-vsock-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let initrd = folder.join("initrd");
        fs::write(&initrd, initramfs(&compile_peer(&folder))).unwrap();
        let socket = folder.join("vsock.sock");
        let (device, connector) = VsockDevice::start(&socket, 3).unwrap();
        let machine = std::env::var("WHERRY_TEST_MACHINE")
            .unwrap_or_else(|_| "microvm,pcie=on,acpi=on,rtc=on".to_owned());
        // Free a moment ago, which is all that QEMU lets one know.
        let forward = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let qemu = Command::new("qemu-system-x86_64")
            .arg("-M")
            .arg(format!("{machine},memory-backend=mem"))
            .args([
                "-accel",
                "tcg,thread=multi",
                "-smp",
                "2",
                "-cpu",
                // As the engine has it.
                "max,-erms,-fsrm",
                "-m",
                "512M",
            ])
            .args(["-object", "memory-backend-memfd,id=mem,size=512M,share=on"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .arg("-serial")
            .arg(format!("file:{}", folder.join("console").display()))
            .arg("-qmp")
            .arg(format!(
                "unix:{},server=on,wait=off",
                folder.join("qmp").display()
            ))
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(&initrd)
            .arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1{}", clock()))
            .arg("-chardev")
            .arg(format!("socket,id=vsock,path={}", socket.display()))
            .args(["-device", "vhost-user-vsock-pci,chardev=vsock"])
            .arg("-netdev")
            .arg(format!("user,id=net,hostfwd=tcp:{forward}-:2"))
            .args(["-device", "virtio-net-pci,netdev=net,romfile="])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            qemu,
            forward,
            folder,
            device,
            connector,
        }
    }

    /// Connects, and tries again for as long as the guest is not ready.
    pub(crate) async fn connect(&self, port: u32) -> Stream {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.connector.connect(port).await {
                Ok(stream) => return stream,
                Err(ConnectError::Ended | ConnectError::TooMany) => panic!("the guest has ended"),
                Err(error) if Instant::now() > deadline => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Returns the processor time of QEMU so far, in seconds.
    pub(crate) fn processor_time(&self) -> f64 {
        processor_time(&self.qemu.id().to_string())
    }

    /// Runs QMP commands.
    pub(crate) fn command(&self, commands: &[&str]) {
        let socket = UnixStream::connect(self.folder.join("qmp")).unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
        lines.next().unwrap().unwrap();
        for command in ["qmp_capabilities"].iter().chain(commands) {
            writeln!(&socket, r#"{{"execute":"{command}"}}"#).unwrap();
            while !lines.next().unwrap().unwrap().contains(r#""return""#) {}
        }
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let console = fs::read_to_string(self.folder.join("console")).unwrap_or_default();
            eprintln!("the guest's console:\n{console}");
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns words for the kernel that name the time stamp counter's frequency, which
/// an emulated guest on a busy host measures wrongly now and then, and then hangs.
fn clock() -> String {
    let ticks = || {
        // SAFETY: reading the counter has no precondition, and every x86-64
        // processor has it.
        unsafe { std::arch::x86_64::_rdtsc() }
    };
    let (begun, first) = (Instant::now(), ticks());
    std::thread::sleep(Duration::from_millis(10));
    let elapsed = begun.elapsed().as_nanos();
    let khz = u128::from(ticks() - first) * 1_000_000 / elapsed;
    format!(" tsc=reliable tsc_early_khz={khz}")
}

/// Returns the processor time of a process so far, in seconds.
pub(crate) fn processor_time(process: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    // utime and stime, in ticks of 10 ms on every Linux there is.
    [11, 12]
        .map(|field| fields[field].parse::<f64>().unwrap())
        .iter()
        .sum::<f64>()
        / 100.0
}

fn compile_peer(folder: &Path) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/peer.rs");
    let program = folder.join("peer");
    let status = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
        ])
        .args(["-C", "panic=abort", "-C", "strip=symbols", "-o"])
        .arg(&program)
        .arg(source)
        .status()
        .unwrap();
    assert!(status.success());
    fs::read(program).unwrap()
}

/// An archive in the "newc" format of cpio, as the kernel's
/// `Documentation/driver-api/early-userspace/buffer-format.rst` has it.
fn initramfs(init: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut add = |name: &str, mode: u32, device: (u32, u32), data: &[u8]| {
        let fields = [
            0,
            mode,
            0,
            0,
            1,
            0,
            data.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        archive.extend_from_slice(b"070701");
        for field in fields {
            archive.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    add("dev", 0o040_755, (0, 0), &[]);
    add("dev/console", 0o020_600, (5, 1), &[]);
    add("init", 0o100_755, (0, 0), init);
    if let Ok(modules) = std::env::var("WHERRY_TEST_MODULES") {
        add("modules", 0o040_755, (0, 0), &[]);
        for (number, path) in modules.split(':').enumerate() {
            let module = fs::read(path).unwrap();
            add(&format!("modules/{number:03}"), 0o100_644, (0, 0), &module);
        }
    }
    add("TRAILER!!!", 0, (0, 0), &[]);
    archive
}
