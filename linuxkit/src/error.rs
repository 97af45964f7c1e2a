//! What can go wrong while building the guest image.

use std::io;
use std::path::{Path, PathBuf};

/// Why a guest image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read, written, moved or locked.
    #[error("cannot {action} {path}")]
    File {
        /// What was attempted, as a verb: `read`, `create`.
        action: &'static str,
        /// The file it was attempted on.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The description is not YAML, or a value has the wrong type.
    #[error("{file}: {message}")]
    Yaml {
        /// The description's path.
        file: PathBuf,
        /// The parser's message, with line and column.
        message: String,
    },
    /// The description asks for something that this builder does not do.
    #[error("{file}: `{key}` is not supported by this builder: {reason}")]
    Unsupported {
        /// The description's path.
        file: PathBuf,
        /// The key in full, `files[3].metadata`.
        key: String,
        /// What is supported instead.
        reason: String,
    },
    /// A program that the build needs is not installed.
    #[error("the program `{program}` is missing: install the Debian package {package}")]
    MissingProgram {
        /// The program's name.
        program: String,
        /// The Debian package that holds it.
        package: String,
    },
    /// A program that the build runs failed.
    #[error("`{program}` failed ({status}) while it {purpose}:\n{output}")]
    Program {
        /// The program's name.
        program: String,
        /// How it ended.
        status: String,
        /// What it was to do.
        purpose: String,
        /// The last lines it wrote.
        output: String,
    },
    /// Lines of the kernel configuration that Kconfig dropped.
    #[error(
        "{file}: the kernel does not accept {lines:?}: \
         a dependency is off or the option has another name in this version"
    )]
    KernelConfiguration {
        /// The configuration's path.
        file: PathBuf,
        /// The lines that did not survive.
        lines: Vec<String>,
    },
    /// No kernel source was found.
    #[error("no kernel source: {0}; or set WHERRY_KERNEL_SOURCE to a source folder or a .tar.xz")]
    KernelSource(String),
    /// Two files want the same path in the initramfs, or a path leaves it.
    #[error("the initramfs cannot hold `{path}`: {reason}")]
    Entry {
        /// The path in the initramfs.
        path: String,
        /// Why not.
        reason: &'static str,
    },
}

/// The result of a step of the build.
pub type Result<T> = std::result::Result<T, Error>;

/// Gives an I/O error the path it happened on.
pub(crate) trait OnPath<T> {
    /// Turns the error into [`Error::File`].
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> OnPath<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::File {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
