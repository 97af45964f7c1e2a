//! Shared folders of a QEMU guest: virtio-fs devices, served by the virtiofsd
//! crate in this process.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(super) use linux::serve;

#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(not(target_os = "linux"))]
pub(super) use unsupported::serve;
