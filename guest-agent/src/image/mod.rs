//! Images: reading them from archives, keeping them, and making root file
//! systems of them.
//!
//! A [`Store`] lives in one directory on ext4:
//!
//! ```text
//! blobs/sha256/<hex>      manifests and configurations, by digest
//! layers/<hex>            unpacked layers, by diff id, as overlayfs wants its lower directories
//! skeletons/<hex>         of each layer: what its tar was besides the files' content
//! images/images.json      which images there are, and their names
//! images/unfinished.json  the layers of pulls that were cut off
//! images/tmp/             what is half made; emptied by every open
//! ```
//!
//! Compressed layers are not kept: they would double the space an image takes.
//! A push or save makes their streams again, byte for byte, of the unpacked
//! files and the skeletons.
//!
//! Whatever changes the store writes and syncs the new files first and then
//! replaces `images.json` by rename, so that a power cut leaves the old state
//! or the new one. Everything here blocks: call it on a thread that may.

mod add_layer;
mod builtin;
mod check;
mod digest;
mod durable;
mod error;
mod fetched;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod history;
mod import;
mod kept;
mod layer;
mod load;
mod oci;
mod packed;
mod platform;
mod prune;
mod record;
mod reference;
mod remove;
mod save;
mod snapshot;
mod store;
mod tag;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod usage;
mod user;

pub(crate) use add_layer::NewLayer;
pub(crate) use digest::Digest;
pub(crate) use error::Error;
pub(crate) use fetched::{FetchedImage, summary};
pub(crate) use import::ImportOptions;
pub(crate) use layer::{Packer, extract_at, unpacked};
pub(crate) use oci::{CONFIG, Descriptor, LAYER, MANIFEST, MAX_JSON, Manifest, Platform};
pub(crate) use packed::{KnownLayer, LayerTar};
pub(crate) use platform::choose;
pub(crate) use record::{ImageRecord, LayerRecord};
pub(crate) use reference::Reference;
pub(crate) use remove::{Dependent, Removal};
pub(crate) use snapshot::{OverlayMount, unmount_root};
pub(crate) use store::Store;
pub(crate) use time::civil_from_days;
pub(crate) use user::{User, resolve_user};
/// What a load or import is doing; goes over the wire as it is.
pub(crate) use wherry_proto::v1::Progress;
