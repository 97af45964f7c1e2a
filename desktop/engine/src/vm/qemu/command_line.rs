//! QEMU's command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use wherry_client::settings::Accelerator;

use crate::vm::VmDescription;

const MEBIBYTE: u64 = 1 << 20;

/// The processor that the guest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    Aarch64,
}

impl Architecture {
    /// Returns the host's: a guest of another one would be emulated throughout.
    pub(super) fn of_host() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else {
            Self::X86_64
        }
    }
}

/// The sockets of the devices that the machine process implements.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets {
    /// The vsock device's.
    pub(super) vsock: Option<PathBuf>,
    /// The shares', each with its tag.
    pub(super) shares: Vec<(String, PathBuf)>,
}

/// What a command line depends on beside the VM's description.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine<'a> {
    pub(super) architecture: Architecture,
    pub(super) accelerator: Accelerator,
    /// The frequency of the host's time stamp counter.
    pub(super) tsc_khz: Option<u64>,
    pub(super) sockets: &'a Sockets,
}

/// Returns the arguments that boot `description`. QMP is on the standard
/// streams, because every platform has those.
pub(super) fn arguments(machine: &Machine<'_>, description: &VmDescription) -> Vec<OsString> {
    let sockets = machine.sockets;
    let mut line = Line::default();
    line.machine(machine, description);
    line.boot(machine, description);
    line.consoles(&description.console_log);
    line.disks(description);
    line.backends(sockets);
    if description.network {
        // No ROM: the kernel is given, nothing boots from the network.
        line.pair("-netdev", "user,id=net0");
        line.pair("-device", "virtio-net-pci,netdev=net0,romfile=");
    }
    line.pair("-device", "virtio-rng-pci");
    // The guest reports pages it no longer uses, and QEMU gives them back.
    line.pair("-device", "virtio-balloon-pci,free-page-reporting=on");
    line.0
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }

    fn machine(&mut self, wish: &Machine<'_>, description: &VmDescription) {
        let (accelerator, sockets) = (wish.accelerator, wish.sockets);
        let mebibytes = description.memory / MEBIBYTE;
        let mut machine = match wish.architecture {
            // Of x86's machines the one that boots fastest; its PCIe carries
            // vhost-user devices.
            Architecture::X86_64 => "microvm,pcie=on,acpi=on,rtc=on",
            Architecture::Aarch64 => "virt,gic-version=max",
        }
        .to_owned();
        self.flag("-nodefaults");
        self.flag("-no-user-config");
        self.flag("-no-reboot");
        self.pair("-display", "none");
        self.pair("-chardev", "stdio,id=qmp,signal=off");
        self.pair("-mon", "chardev=qmp,mode=control");
        self.pair(
            "-accel",
            match accelerator {
                Accelerator::Tcg | Accelerator::Auto => "tcg,thread=multi",
                hardware => hardware.name(),
            },
        );
        self.pair(
            "-cpu",
            match (accelerator, wish.architecture) {
                (Accelerator::Kvm | Accelerator::Hvf, _) => "host",
                // Emulation copies by the step of a string instruction. Guests that
                // believe in fast single bytes make eight times as many of them.
                (Accelerator::Tcg | Accelerator::Auto, Architecture::X86_64) => "max,-erms,-fsrm",
                _ => "max",
            },
        );
        self.pair("-smp", description.cpus.to_string());
        self.pair("-m", format!("{mebibytes}M"));
        if sockets.vsock.is_some() || !sockets.shares.is_empty() {
            // A vhost-user backend maps the guest's memory, so it is shared.
            machine.push_str(",memory-backend=mem");
            self.pair(
                "-object",
                format!("memory-backend-memfd,id=mem,size={mebibytes}M,share=on"),
            );
        }
        self.pair("-machine", machine);
    }

    fn boot(&mut self, machine: &Machine<'_>, description: &VmDescription) {
        let mut words = description.command_line.clone();
        // Reliable, because there is no better clock to watch this one by: with
        // ticks, which an emulated processor gets late.
        if let (Architecture::X86_64, Accelerator::Tcg, Some(khz)) =
            (machine.architecture, machine.accelerator, machine.tsc_khz)
        {
            words.push_str(&format!(" tsc=reliable tsc_early_khz={khz}"));
        }
        self.pair("-kernel", description.kernel.as_os_str());
        self.pair("-initrd", description.initramfs.as_os_str());
        self.pair("-append", words);
    }

    /// The kernel writes to the first serial port, which works from its first
    /// line on. User space writes to hvc0: microvm's serial port has no
    /// interrupt, and a process that fills its buffer would block for ever.
    fn consoles(&mut self, log: &Path) {
        self.pair("-chardev", with_path("file,id=serial,append=on,path=", log));
        self.pair("-serial", "chardev:serial");
        self.pair("-device", "virtio-serial-pci");
        self.pair("-chardev", with_path("file,id=hvc0,append=on,path=", log));
        self.pair("-device", "virtconsole,chardev=hvc0");
    }

    fn disks(&mut self, description: &VmDescription) {
        for (index, disk) in description.disks.iter().enumerate() {
            // Writes reach the host's page cache at once and its disk when the
            // guest flushes, which is what survives a power cut. Freed blocks
            // make holes. Where the host's disk is full the guest waits: an
            // error would cost it what it has written and not yet flushed.
            let mut drive = OsString::from(format!(
                "if=none,id=disk{index},format=raw,cache=writeback,aio=threads,discard=unmap,detect-zeroes=unmap,werror=enospc,rerror=report"
            ));
            if disk.read_only {
                drive.push(",readonly=on");
            }
            drive.push(with_path(",file=", &disk.image));
            self.pair("-drive", drive);
            self.pair("-device", format!("virtio-blk-pci,drive=disk{index}"));
        }
    }

    fn backends(&mut self, sockets: &Sockets) {
        if let Some(socket) = &sockets.vsock {
            self.pair("-chardev", with_path("socket,id=vsock,path=", socket));
            self.pair("-device", "vhost-user-vsock-pci,chardev=vsock");
        }
        for (tag, socket) in &sockets.shares {
            self.pair(
                "-chardev",
                with_path(&format!("socket,id={tag},path="), socket),
            );
            self.pair(
                "-device",
                format!("vhost-user-fs-pci,chardev={tag},tag={tag},queue-size=1024"),
            );
        }
    }
}

/// Appends a path to an option; QEMU reads `,,` in it as a comma.
fn with_path(option: &str, path: &Path) -> OsString {
    let mut value = OsString::from(option);
    match path.to_str() {
        Some(path) => value.push(path.replace(',', ",,")),
        // Such a path holds no comma as far as can be told; QEMU names it if
        // it is wrong.
        None => value.push(path),
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::{Disk, Share};

    fn description() -> VmDescription {
        VmDescription {
            kernel: "/guest/kernel".into(),
            initramfs: "/guest/initramfs".into(),
            command_line: "console=ttyS0 quiet".into(),
            cpus: 2,
            memory: 1 << 30,
            disks: vec![Disk {
                image: "/home/a,b/data.img".into(),
                read_only: false,
            }],
            shares: vec![Share {
                tag: "share0".into(),
                folder: "/home/me".into(),
            }],
            network: true,
            console_log: "/home/log/console.log".into(),
            run: "/home/run".into(),
        }
    }

    fn sockets() -> Sockets {
        Sockets {
            vsock: Some("/home/run/vsock.sock".into()),
            shares: vec![("share0".into(), "/home/run/share0.sock".into())],
        }
    }

    fn line(architecture: Architecture, accelerator: Accelerator) -> String {
        let machine = Machine {
            architecture,
            accelerator,
            tsc_khz: Some(2_000_000),
            sockets: &sockets(),
        };
        arguments(&machine, &description())
            .iter()
            .map(|argument| argument.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
            .replace(" -", "\n-")
    }

    #[test]
    fn the_command_line_of_an_emulated_x86_guest() {
        let expected = "\
-nodefaults
-no-user-config
-no-reboot
-display none
-chardev stdio,id=qmp,signal=off
-mon chardev=qmp,mode=control
-accel tcg,thread=multi
-cpu max,-erms,-fsrm
-smp 2
-m 1024M
-object memory-backend-memfd,id=mem,size=1024M,share=on
-machine microvm,pcie=on,acpi=on,rtc=on,memory-backend=mem
-kernel /guest/kernel
-initrd /guest/initramfs
-append console=ttyS0 quiet tsc=reliable tsc_early_khz=2000000
-chardev file,id=serial,append=on,path=/home/log/console.log
-serial chardev:serial
-device virtio-serial-pci
-chardev file,id=hvc0,append=on,path=/home/log/console.log
-device virtconsole,chardev=hvc0
-drive if=none,id=disk0,format=raw,cache=writeback,aio=threads,discard=unmap,detect-zeroes=unmap,werror=enospc,rerror=report,file=/home/a,,b/data.img
-device virtio-blk-pci,drive=disk0
-chardev socket,id=vsock,path=/home/run/vsock.sock
-device vhost-user-vsock-pci,chardev=vsock
-chardev socket,id=share0,path=/home/run/share0.sock
-device vhost-user-fs-pci,chardev=share0,tag=share0,queue-size=1024
-netdev user,id=net0
-device virtio-net-pci,netdev=net0,romfile=
-device virtio-rng-pci
-device virtio-balloon-pci,free-page-reporting=on";
        assert_eq!(line(Architecture::X86_64, Accelerator::Tcg), expected);
    }

    #[test]
    fn hardware_runs_the_hosts_processor() {
        let line = line(Architecture::Aarch64, Accelerator::Hvf);
        assert!(line.contains("-accel hvf\n-cpu host\n"), "{line}");
        assert!(line.contains("-machine virt,gic-version=max,"), "{line}");
    }
}
