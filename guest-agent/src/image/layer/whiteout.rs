//! What a layer says of the layers below it: whiteouts.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::root::{Refusal, refuse, set_opaque};

/// image-spec, layer.md, "Whiteouts".
pub(super) const WHITEOUT: &[u8] = b".wh.";
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own files, which no other driver takes over.
const AUFS: &[u8] = b".wh..wh.";

/// Writes overlayfs's form of a whiteout. It speaks of the layers below only:
/// what this layer has of that name stays.
pub(super) fn whiteout(parent: &OwnedFd, name: &[u8], hidden: &[u8]) -> Result<(), Refusal> {
    if name == OPAQUE {
        return Ok(set_opaque(parent, b"")?);
    }
    if name.starts_with(AUFS) {
        return Ok(());
    }
    if matches!(hidden, b"" | b"." | b"..") {
        return refuse("it is a whiteout of no file");
    }
    match rustix::fs::statat(parent, hidden, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            Ok(set_opaque(parent, hidden)?)
        }
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => {
            let mode = Mode::from_raw_mode(0);
            Ok(rustix::fs::mknodat(
                parent,
                hidden,
                FileType::CharacterDevice,
                mode,
                0,
            )?)
        }
        Err(error) => Err(error.into()),
    }
}
