//! The vsock device of a QEMU guest: a vhost-user backend in this process.

#[cfg(target_os = "linux")]
pub(super) use linux::Vsock;
#[cfg(not(target_os = "linux"))]
pub(super) use unsupported::Vsock;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::path::Path;

    use futures_util::future::BoxFuture;
    use wherry_vsock::{Connector, VsockDevice};

    use crate::vm::{GuestStream, VmError};

    /// The guest's context id: the first one that is not reserved, virtio 1.2
    /// section 5.10.4. Every VM has a device of its own, so all may have it.
    const GUEST_CID: u64 = 3;

    /// The device and the way to the guest's ports.
    pub(in crate::vm::qemu) struct Vsock {
        _device: VsockDevice,
        connector: Connector,
    }

    impl Vsock {
        /// Listens on `socket` for QEMU, which must connect to it.
        pub(in crate::vm::qemu) fn start(socket: &Path) -> Result<Self, VmError> {
            let (device, connector) = VsockDevice::start(socket, GUEST_CID)
                .map_err(|error| VmError::Vsock(error.to_string()))?;
            Ok(Self {
                _device: device,
                connector,
            })
        }

        pub(in crate::vm::qemu) fn connect(
            &self,
            port: u32,
        ) -> BoxFuture<'static, io::Result<Box<dyn GuestStream>>> {
            let connector = self.connector.clone();
            Box::pin(async move {
                let stream = connector.connect(port).await.map_err(io::Error::other)?;
                Ok(Box::new(stream) as Box<dyn GuestStream>)
            })
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod unsupported {
    use std::io;
    use std::path::Path;

    use futures_util::future::BoxFuture;

    use crate::vm::{GuestStream, VmError};

    /// vhost-user works on Linux only.
    pub(in crate::vm::qemu) struct Vsock;

    impl Vsock {
        pub(in crate::vm::qemu) fn start(_socket: &Path) -> Result<Self, VmError> {
            Err(VmError::Unsupported {
                what: "a connection to the guest",
            })
        }

        pub(in crate::vm::qemu) fn connect(
            &self,
            _port: u32,
        ) -> BoxFuture<'static, io::Result<Box<dyn GuestStream>>> {
            Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
        }
    }
}
