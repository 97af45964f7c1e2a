//! QEMU: Linux with KVM, macOS with HVF, Windows with WHPX, and software
//! emulation (TCG) everywhere.
//!
//! QEMU runs as a child of the machine process and is driven over QMP on its
//! standard streams. Its vsock and virtio-fs devices are vhost-user backends
//! inside the machine process.

mod accelerator;
mod command_line;
mod hypervisor;
mod process;
mod program;
mod qmp;
mod share;
mod tsc;
mod vm;
mod vsock;

pub use hypervisor::Qemu;
