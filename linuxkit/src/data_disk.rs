//! The blank data disk: a sparse, formatted ext4 image, the template from which
//! the engine makes a new machine's `data.img`.
//!
//! It is 64 GiB long and holds a few megabytes: copy it keeping its holes
//! (`SEEK_DATA`, or `cp --sparse=always`), which takes milliseconds. The guest
//! initialises inode tables in the background and discards what it frees.

use std::fs::File;
use std::path::Path;

use crate::command::{program, run};
use crate::error::{OnPath, Result};

/// The disk's length in bytes, none of it taken on the host before it is used.
pub const DATA_DISK_BYTES: u64 = 64 << 30;

// Fixed, so that the same inputs give the same bytes. Each machine has one such
// disk, found by its device, so the identity need not be unique.
const UUID: &str = "77686572-7279-4461-b461-000000000001";
const HASH_SEED: &str = "77686572-7279-4461-b461-000000000002";

/// Features and sizes are said here, not by the machine's /etc/mke2fs.conf.
const CONFIGURATION: &str = "\
[defaults]
    base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
    default_mntopts = acl,user_xattr
    blocksize = 4096
    inode_size = 256
    inode_ratio = 16384
[fs_types]
    ext4 = {
        features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
    }
";

/// Returns what the disk's content depends on, for the manifest.
pub(crate) fn inputs() -> String {
    crate::cache::sha256_of_parts(&[CONFIGURATION, UUID, HASH_SEED, &DATA_DISK_BYTES.to_string()])
}

/// Writes the template to `path`.
pub(crate) fn build(path: &Path) -> Result<()> {
    build_sized(path, DATA_DISK_BYTES)
}

fn build_sized(path: &Path, bytes: u64) -> Result<()> {
    let temporary = crate::cache::beside(path);
    let file = File::create(&temporary).on("create", &temporary)?;
    file.set_len(bytes).on("extend", &temporary)?;
    drop(file);
    let folder = tempfile::tempdir().on("create a folder in", Path::new("the temporary folder"))?;
    let configuration = folder.path().join("mke2fs.conf");
    std::fs::write(&configuration, CONFIGURATION).on("write", &configuration)?;
    let formatted = run(
        program("mke2fs")
            .env("MKE2FS_CONFIG", &configuration)
            // Which of the two a version knows differs: both mean second 1.
            .env("E2FSPROGS_FAKE_TIME", "1")
            .env("SOURCE_DATE_EPOCH", "1")
            .args(["-q", "-F", "-t", "ext4", "-L", "wherry-data", "-m", "0"])
            .args(["-U", UUID, "-J", "size=64", "-E"])
            .arg(format!(
                "hash_seed={HASH_SEED},nodiscard,lazy_itable_init=1,lazy_journal_init=1,\
                 root_owner=0:0"
            ))
            .arg(&temporary),
        "formats the blank data disk",
    );
    if formatted.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    formatted?;
    std::fs::rename(&temporary, path).on("rename to", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let build = |name: &str| {
            let path = folder.path().join(name);
            build_sized(&path, 256 << 20).unwrap();
            std::fs::read(path).unwrap()
        };
        assert!(build("one") == build("other"));
    }

    #[cfg(unix)]
    #[test]
    fn template_takes_little_of_the_host() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.img");
        build(&path).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), DATA_DISK_BYTES);
        assert!(
            metadata.blocks() * 512 < 16 << 20,
            "{} blocks",
            metadata.blocks()
        );
    }
}
