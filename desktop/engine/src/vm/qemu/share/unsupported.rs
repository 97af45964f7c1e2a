//! Where there is no vhost-user.

use std::path::Path;

use crate::vm::{Share, VmError};

/// Refuses the share.
pub(in crate::vm::qemu) fn serve(
    _share: &Share,
    _socket: &Path,
    _open_files: u64,
) -> Result<(), VmError> {
    Err(VmError::Unsupported {
        what: "a shared folder",
    })
}
