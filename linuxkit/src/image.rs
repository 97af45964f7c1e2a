//! The whole build: reads the description, makes the parts, writes them and the
//! manifest into the output folder.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{default_cache, lock, sha256, write};
use crate::error::{OnPath, Result};
use crate::yml::Description;
use crate::{Architecture, Progress, data_disk, initramfs, kernel};

/// What to build, from what, and where to put it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The description, `linuxkit/wherry.yml`. The kernel's configuration is
    /// `kernel/guest-<architecture>.config` beside it.
    pub yml: PathBuf,
    /// The agent as a static executable for the guest's architecture.
    pub agent_binary: PathBuf,
    /// The guest's processor.
    pub architecture: Architecture,
    /// The folder of what is kept between builds: [`default_cache`] when absent.
    pub cache: Option<PathBuf>,
    /// The folder that receives `kernel`, `initramfs`, `data.img`, `cmdline` (the
    /// kernel's, as text) and `guest.json`.
    pub output_dir: PathBuf,
}

/// The files of a built guest.
#[derive(Debug, Clone)]
pub struct GuestImage {
    /// The kernel that the hypervisor loads.
    pub kernel: PathBuf,
    /// The compressed initramfs.
    pub initramfs: PathBuf,
    /// The template of the data disk, sparse: copy it with its holes.
    pub data_disk: PathBuf,
    /// `guest.json`, a [`Manifest`].
    pub manifest: PathBuf,
}

/// The content of `guest.json`: what the guest is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of Wherry that built it.
    pub version: String,
    /// The guest's processor, `x86_64`.
    pub architecture: String,
    /// The kernel's command line, to which the engine adds its own words.
    pub cmdline: String,
    /// The kernel's source: the package's file name, or a path.
    pub kernel_source: String,
    /// The SHA-256 of all that went into the kernel.
    pub kernel_inputs: String,
    /// The SHA-256 of the kernel.
    pub kernel_sha256: String,
    /// The SHA-256 of the initramfs before compression.
    pub archive_sha256: String,
    /// The SHA-256 of the initramfs.
    pub initramfs_sha256: String,
    /// The SHA-256 of all that went into the data disk.
    pub data_disk_inputs: String,
}

/// Builds the guest image, or as much of it as is not in place yet.
///
/// `WHERRY_KERNEL_SOURCE` in the environment, a folder or a tar archive, stands
/// in for Debian's source package. Builders that run at once wait for each other.
///
/// # Errors
///
/// Each [`crate::Error`] names what failed, on what, and what to do.
pub fn build(options: &Options, progress: &dyn Progress) -> Result<GuestImage> {
    let description = Description::read(&options.yml)?;
    let output = &options.output_dir;
    fs::create_dir_all(output).on("create", output)?;
    let _lock = lock(&output.join("guest"))?;
    let image = GuestImage {
        kernel: output.join("kernel"),
        initramfs: output.join("initramfs"),
        data_disk: output.join("data.img"),
        manifest: output.join("guest.json"),
    };
    let before = previous(&image.manifest);

    let base = options.yml.parent().unwrap_or(Path::new("."));
    let configuration = format!("kernel/guest-{}.config", options.architecture.name());
    let given_source = std::env::var_os("WHERRY_KERNEL_SOURCE");
    let kernel = kernel::build(
        &description.kernel.image,
        &base.join(configuration),
        given_source.as_deref(),
        options.architecture,
        &options.cache.clone().unwrap_or_else(default_cache),
        progress,
    )?;
    let bytes = fs::read(&kernel.image).on("read", &kernel.image)?;
    write(&image.kernel, &bytes)?;
    let kernel_sha256 = sha256(&bytes);

    progress.step("Packing the initramfs");
    let archive = initramfs::root(&description, &options.agent_binary, options.architecture)?;
    let (archive_sha256, initramfs_sha256) =
        packed(&archive.to_bytes(), &image.initramfs, before.as_ref())?;

    let data_disk_inputs = data_disk::inputs();
    let unchanged = before.is_some_and(|before| before.data_disk_inputs == data_disk_inputs);
    if !(unchanged && image.data_disk.exists()) {
        progress.step("Formatting the blank data disk");
        data_disk::build(&image.data_disk)?;
    }

    write(
        &output.join("cmdline"),
        description.kernel.cmdline.as_bytes(),
    )?;
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").into(),
        architecture: options.architecture.name().into(),
        cmdline: description.kernel.cmdline,
        kernel_source: kernel.source,
        kernel_inputs: kernel.inputs,
        kernel_sha256,
        archive_sha256,
        initramfs_sha256,
        data_disk_inputs,
    };
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    write(&image.manifest, text.as_bytes())?;
    Ok(image)
}

/// Writes the initramfs of the cold-start benchmark's comparator to `path`,
/// compressed as the guest's: an init that prints `bare init` to the console and
/// to `hvc0` where there is one, and switches the machine off.
///
/// # Errors
///
/// As [`build`].
pub fn build_bare_init(architecture: Architecture, path: &Path) -> Result<()> {
    let archive = initramfs::bare_init(architecture)?;
    write(path, &initramfs::compress(&archive.to_bytes())?)
}

/// Writes the compressed initramfs, unless the one in place is of this archive.
/// Returns the hashes of the archive and of the file.
fn packed(archive: &[u8], path: &Path, before: Option<&Manifest>) -> Result<(String, String)> {
    let archive_sha256 = sha256(archive);
    if let Some(before) = before.filter(|before| before.archive_sha256 == archive_sha256)
        && let Ok(bytes) = fs::read(path)
        && sha256(&bytes) == before.initramfs_sha256
    {
        return Ok((archive_sha256, before.initramfs_sha256.clone()));
    }
    let compressed = initramfs::compress(archive)?;
    write(path, &compressed)?;
    Ok((archive_sha256, sha256(&compressed)))
}

fn previous(manifest: &Path) -> Option<Manifest> {
    serde_json::from_slice(&fs::read(manifest).ok()?).ok()
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
