//! The folder that holds all state of one engine.

use std::io;
use std::path::{Path, PathBuf};

/// The environment variable that moves the home folder.
pub const VARIABLE: &str = "WHERRY_HOME";

/// The longest name of a socket below the home folder.
const LONGEST_SOCKET: &str = "run/machine.sock";

/// The bytes of `sun_path` in `struct sockaddr_un`, its closing NUL included:
/// unix(7) on Linux, unix(4) on macOS.
#[cfg(target_os = "linux")]
const SOCKET_PATH_BYTES: usize = 108;
#[cfg(all(unix, not(target_os = "linux")))]
const SOCKET_PATH_BYTES: usize = 104;

/// The folder that holds all state of one engine: `WHERRY_HOME`, or the
/// platform's folder for application data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// Why there is no usable home folder.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither `WHERRY_HOME` nor a home folder of the user.
    #[error("cannot tell where to keep data: set {VARIABLE} to a folder")]
    Unknown,
    /// The path is not usable as given.
    #[error("{VARIABLE} {path:?} is no usable path")]
    Path {
        /// What was given.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A socket below it would have a path that the system does not take.
    #[error(
        "the home folder {path} is too long for a socket: {socket} below it makes {length} bytes, \
         and {limit} is the limit; set {VARIABLE} to a shorter path, such as {suggestion}",
        path = path.display()
    )]
    TooLong {
        /// The home folder.
        path: PathBuf,
        /// The longest socket's name below it.
        socket: &'static str,
        /// The socket's path, bytes.
        length: usize,
        /// The most bytes such a path may have.
        limit: usize,
        /// A shorter home folder.
        suggestion: String,
    },
    /// It cannot be created.
    #[error("cannot create {path}: {source}; set {VARIABLE} to a folder you can write to", path = path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is there and not writable.
    #[error("cannot write to {path}: {source}; set {VARIABLE} to a folder you can write to", path = path.display())]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Home {
    /// Returns the home folder that the environment names. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`HomeError::Unknown`] where neither `WHERRY_HOME` nor a user's home is
    /// known, [`HomeError::Path`] for a `WHERRY_HOME` that cannot be made absolute.
    pub fn from_environment() -> Result<Self, HomeError> {
        match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            Some(path) => Self::at(PathBuf::from(path)),
            None => directories::ProjectDirs::from("", "", "Wherry")
                .map(|folders| Self {
                    root: folders.data_local_dir().to_owned(),
                })
                .ok_or(HomeError::Unknown),
        }
    }

    /// Returns the home folder at `path`, made absolute. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`HomeError::Path`] for an empty path, or where there is no current folder.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, HomeError> {
        let path = path.into();
        match std::path::absolute(&path) {
            Ok(root) => Ok(Self { root }),
            Err(source) => Err(HomeError::Path { path, source }),
        }
    }

    /// Creates the folder and those in it, each for its owner alone (mode 0700),
    /// and checks that sockets and files can be made in it.
    ///
    /// # Errors
    ///
    /// [`HomeError`] that names the folder and says what to do.
    pub fn prepare(&self) -> Result<(), HomeError> {
        self.check_length()?;
        for folder in [&self.root, &self.run(), &self.log(), &self.guest()] {
            create_private(folder).map_err(|source| HomeError::Create {
                path: folder.clone(),
                source,
            })?;
            crate::platform::check_writable(folder).map_err(|source| HomeError::NotWritable {
                path: folder.clone(),
                source,
            })?;
        }
        Ok(())
    }

    #[cfg(unix)]
    fn check_length(&self) -> Result<(), HomeError> {
        let length = self.root.join(LONGEST_SOCKET).as_os_str().len();
        let limit = SOCKET_PATH_BYTES - 1;
        if length <= limit {
            return Ok(());
        }
        let user = rustix::process::getuid().as_raw();
        Err(HomeError::TooLong {
            path: self.root.clone(),
            socket: LONGEST_SOCKET,
            length,
            limit,
            suggestion: format!("/tmp/wherry-{user}"),
        })
    }

    /// Named pipes take their names from a hash of the path, so any length will do.
    #[cfg(not(unix))]
    fn check_length(&self) -> Result<(), HomeError> {
        let _ = LONGEST_SOCKET;
        Ok(())
    }

    /// Returns the folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the settings file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// Returns the folder of sockets, locks and other state of running processes.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Returns the socket that `wherryd` serves gRPC on.
    #[must_use]
    pub fn wherryd_socket(&self) -> PathBuf {
        self.run().join("wherryd.sock")
    }

    /// Returns the socket that `wherryd` serves Docker's Engine API on.
    #[must_use]
    pub fn docker_socket(&self) -> PathBuf {
        self.run().join("docker.sock")
    }

    /// Returns the socket that the machine process serves gRPC on.
    #[must_use]
    pub fn machine_socket(&self) -> PathBuf {
        self.run().join("machine.sock")
    }

    /// Returns the machine's relay to the guest's bulk stream port.
    #[must_use]
    pub fn stream_socket(&self) -> PathBuf {
        self.run().join(wherry_proto::STREAM_SOCKET)
    }

    /// Returns the machine's relay to the guest's gRPC port.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.run().join(wherry_proto::GRPC_SOCKET)
    }

    /// Returns the socket between the hypervisor and its vsock device.
    #[must_use]
    pub fn vsock_socket(&self) -> PathBuf {
        self.run().join("vsock.sock")
    }

    /// Returns the file whose lock the one `wherryd` holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.run().join("lock")
    }

    /// Returns the file whose lock the one machine process holds.
    #[must_use]
    pub fn machine_lock(&self) -> PathBuf {
        self.run().join("machine.lock")
    }

    /// Returns the file whose lock whoever starts `wherryd` holds meanwhile.
    #[must_use]
    pub fn start_lock(&self) -> PathBuf {
        self.run().join("start.lock")
    }

    /// Returns what the machine process records of itself.
    #[must_use]
    pub fn machine_state(&self) -> PathBuf {
        self.run().join("machine-state.json")
    }

    /// Returns the folder of logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Returns the log of `wherryd`.
    #[must_use]
    pub fn wherryd_log(&self) -> PathBuf {
        self.log().join("wherryd.log")
    }

    /// Returns the folder of an installed guest image.
    #[must_use]
    pub fn guest(&self) -> PathBuf {
        self.root.join("guest")
    }

    /// Returns the folder of certificates for the Engine API over TCP.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// Returns the guest's data disk.
    #[must_use]
    pub fn data_disk(&self) -> PathBuf {
        self.root.join("data.img")
    }
}

/// Creates a folder and its parents, for its owner alone.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        builder.mode(0o700).create(folder)?;
        let mut permissions = std::fs::metadata(folder)?.permissions();
        if permissions.mode() & 0o077 != 0 {
            permissions.set_mode(0o700);
            std::fs::set_permissions(folder, permissions)?;
        }
        Ok(())
    }
    #[cfg(not(unix))]
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_prepared_home_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("deep/home")).unwrap();
        home.prepare().unwrap();
        home.prepare().unwrap();
        for path in [home.root().to_owned(), home.run(), home.log(), home.guest()] {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_home_too_long_for_a_socket_says_lengths_and_a_shorter_one() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("x".repeat(120))).unwrap();
        let message = home.prepare().unwrap_err().to_string();
        let length = home.machine_socket().as_os_str().len();
        assert!(message.contains(&format!("{length} bytes")), "{message}");
        assert!(
            message.contains(&(SOCKET_PATH_BYTES - 1).to_string()),
            "{message}"
        );
        assert!(
            message.contains("WHERRY_HOME") && message.contains("/tmp/wherry-"),
            "{message}"
        );
        assert!(!home.root().exists());
    }

    #[test]
    fn a_home_below_a_file_cannot_be_created_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = Home::at(file.join("home"))
            .unwrap()
            .prepare()
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("cannot create "), "{message}");
        assert!(message.contains("WHERRY_HOME"), "{message}");
    }
}
