//! What a VM is made of.

use std::path::PathBuf;

/// What a VM is made of, the same for every hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmDescription {
    /// The kernel, in the form that the platform's boot loaders take.
    pub kernel: PathBuf,
    /// The initial RAM file system.
    pub initramfs: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory, bytes.
    pub memory: u64,
    /// Block devices, in the order in which the guest names them.
    pub disks: Vec<Disk>,
    /// Host folders that the guest may mount.
    pub shares: Vec<Share>,
    /// Whether the guest reaches networks outside of it.
    pub network: bool,
    /// The file that the guest's consoles are appended to.
    pub console_log: PathBuf,
    /// The folder for the VM's own sockets, for its owner alone.
    pub run: PathBuf,
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The raw image.
    pub image: PathBuf,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

/// A host folder, offered to the guest as a virtio-fs device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The name that the guest mounts it by, at most 36 bytes.
    pub tag: String,
    /// The folder on the host.
    pub folder: PathBuf,
}
