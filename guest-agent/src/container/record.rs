//! What is kept of a container, in `containers/<id>/container.json`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use wherry_proto::v1::{ContainerSpec, ImageConfig, NetworkEndpoint, PortBinding};

use super::error::Error;
use super::mount::ResolvedMount;
use crate::runtime::ExitStatus;

/// The version of the record's form. A record of a newer one is refused, so
/// that a downgraded agent loses nothing.
const VERSION: u32 = 1;

const FILE: &str = "container.json";

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Never started.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its process ended, and starts again by its policy.
    Restarting,
    /// Its process ended, or failed to start.
    Exited,
    /// It is being removed; found after a crash, the removal goes on.
    Removing,
}

/// The part of the record that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    pub(crate) status: Status,
    /// 0 to 255; 128 and the signal's number when killed by one.
    pub(crate) exit_code: i32,
    /// Its processes are held; it counts as running.
    pub(crate) paused: bool,
    /// The kernel killed a process of it for want of memory since its start.
    pub(crate) oom_killed: bool,
    /// How many.
    pub(crate) oom_kills: u64,
    /// Why the start failed.
    pub(crate) error: String,
    pub(crate) pid: u32,
    pub(crate) shim_pid: u32,
    /// Nanoseconds since 1970; 0: never.
    pub(crate) started: i64,
    /// Nanoseconds since 1970; 0: never.
    pub(crate) finished: i64,
    /// Someone stopped it, and it was not started since.
    pub(crate) stopped: bool,
    /// Starts by its policy since it was last started otherwise.
    pub(crate) restart_count: u32,
    /// The pause before its last restart by its policy; 0: there was none.
    pub(crate) restart_pause_ms: u64,
    /// What shuts down the system that its first process is the init of; empty
    /// for any other container.
    pub(crate) halt_signal: String,
    /// As bound on the host.
    pub(crate) ports: Vec<PortBinding>,
    pub(crate) address: Address,
    /// Its places on bridge networks.
    pub(crate) endpoints: Vec<NetworkEndpoint>,
}

impl State {
    /// Notes that the process has ended.
    pub(crate) fn end(&mut self, exit: &ExitStatus) {
        self.status = Status::Exited;
        self.exit_code = exit.code;
        self.oom_killed |= exit.oom_kills > 0;
        self.finished = exit.finished_ns;
        self.paused = false;
        self.pid = 0;
        self.shim_pid = 0;
        self.address = Address::default();
        self.endpoints.clear();
    }

    /// Tells whether it runs, or waits for its restart.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.status, Status::Running | Status::Restarting)
    }
}

/// Where the container is in its network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Address {
    pub(crate) ip: String,
    pub(crate) prefix_length: u32,
    pub(crate) gateway: String,
    pub(crate) mac: String,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) spec: ContainerSpec,
    pub(crate) image_id: String,
    pub(crate) image_config: ImageConfig,
    /// The command line as it runs, entrypoint first.
    pub(crate) args: Vec<String>,
    pub(crate) hostname: String,
    pub(crate) mounts: Vec<ResolvedMount>,
    /// Nanoseconds since 1970.
    pub(crate) created: i64,
    pub(crate) state: State,
}

impl Record {
    /// Begins the record of a container that was never started.
    pub(crate) fn new(id: String, name: String, spec: ContainerSpec) -> Self {
        Self {
            version: VERSION,
            id,
            name,
            spec,
            image_id: String::new(),
            image_config: ImageConfig::default(),
            args: Vec::new(),
            hostname: String::new(),
            mounts: Vec::new(),
            created: now(),
            state: State::default(),
        }
    }

    /// Writes the record into the container's directory. After a crash of the
    /// agent there is the old one or the new one, never a torn one; and after a
    /// power cut too, except for a container that is to remove itself: that one
    /// is removed then in any case, and need not wait for the disk.
    ///
    /// # Errors
    ///
    /// Those of the file system; the old record then stands.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(FILE);
        let temporary = directory.join(".container.json.new");
        let failed = |error: std::io::Error| Error::path("writing", &path, error);
        let durable = !self.spec.auto_remove;
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(&bytes)?;
            if durable {
                file.sync_data()?;
            }
            fs::rename(&temporary, &path)?;
            if durable {
                File::open(directory)?.sync_all()?;
            }
            Ok(())
        })();
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed(error)
        })
    }

    /// Reads the record in a container's directory; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is of a newer version.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>, Error> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let path = directory.join(FILE);
        let bytes = match fs::read(&path) {
            // A power cut left the file's name, not its content; only records
            // that were not worth the wait can be so.
            Ok(bytes) if bytes.is_empty() => return Ok(None),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::path("reading", &path, error)),
        };
        let malformed =
            |error: serde_json::Error| Error::path("reading", &path, std::io::Error::from(error));
        let Versioned { version } = serde_json::from_slice(&bytes).map_err(malformed)?;
        if version > VERSION {
            return Err(Error::Internal(format!(
                "{} is of version {version}, this agent knows {VERSION}: upgrade Wherry",
                path.display()
            )));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(malformed)
    }

    /// The signal that asks its process to end.
    pub(crate) fn stop_signal(&self) -> &str {
        let known = [
            &self.spec.stop_signal,
            &self.image_config.stop_signal,
            &self.state.halt_signal,
        ];
        known
            .into_iter()
            .find(|signal| !signal.is_empty())
            .map_or("TERM", String::as_str)
    }
}

/// The files of one container.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// What is kept: record, log, upper directory.
    pub(crate) directory: PathBuf,
    /// What ends with the machine: shim socket, bundle. The shim deletes it.
    pub(crate) runtime: PathBuf,
    /// Where the sources of bind mounts are pinned. Never to be deleted with
    /// what is in it: that is the user's.
    pub(crate) mounts: PathBuf,
    /// Where all volumes are.
    pub(crate) volumes: PathBuf,
}

impl Paths {
    /// The container's log, one JSON object a line.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log.json")
    }

    /// Where its root file system is mounted while it runs.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("rootfs")
    }
}

/// Returns the present time, nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as i64)
}

/// Returns a time as it goes over the wire; `None` for never.
pub(crate) fn timestamp(nanoseconds: i64) -> Option<prost_types::Timestamp> {
    (nanoseconds != 0).then(|| prost_types::Timestamp {
        seconds: nanoseconds.div_euclid(1_000_000_000),
        nanos: nanoseconds.rem_euclid(1_000_000_000) as i32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let spec = ContainerSpec {
            image: "busybox".to_owned(),
            env: vec!["A=b".to_owned()],
            ..Default::default()
        };
        Record::new("ab".repeat(32), "brave_skiff".to_owned(), spec)
    }

    #[test]
    fn a_record_comes_back_as_saved() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = record();
        record.state.exit_code = 137;
        record.save(directory.path()).unwrap();
        assert_eq!(Record::load(directory.path()).unwrap(), Some(record));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_without_a_record_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Record::load(directory.path()).unwrap(), None);
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), r#"{"version":99}"#).unwrap();
        let error = Record::load(directory.path()).unwrap_err();
        assert!(error.to_string().contains("version 99"), "{error}");
    }

    #[test]
    fn a_torn_record_is_an_error_that_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), r#"{"version":1,"#).unwrap();
        let error = Record::load(directory.path()).unwrap_err();
        assert!(error.to_string().contains(FILE), "{error}");
    }
}
