//! What is known of the machine when its process has ended.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use wherry_client::{Home, lock};
use wherry_proto::v1::{MachineState, MachineStatusResponse};

use crate::platform;

/// The part of the status that outlives the process, in `machine-state.json`.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Record {
    /// The name in `MachineState`.
    state: String,
    error: String,
    warning: String,
    hypervisor: String,
    accelerator: String,
    cpus: u32,
    memory: u64,
    ready_ms: u64,
    log_path: String,
}

/// Writes the status for the time after this process.
pub(super) fn write(home: &Home, status: &MachineStatusResponse) -> io::Result<()> {
    let record = Record {
        state: status.state().as_str_name().to_owned(),
        error: status.error.clone(),
        warning: status.warning.clone(),
        hypervisor: status.hypervisor.clone(),
        accelerator: status.accelerator.clone(),
        cpus: status.cpus,
        memory: status.memory,
        ready_ms: status.ready_ms,
        log_path: status.log_path.clone(),
    };
    let bytes = serde_json::to_vec_pretty(&record)?;
    replace(&home.machine_state(), &bytes)
}

/// Returns the state that the last machine of `home` left when it ended:
/// `STOPPED`, or `FAILED` and why. The stopped default where it left none.
///
/// While a machine process starts and does not serve its socket yet, the state
/// is `STARTING`.
#[must_use]
pub fn last_state(home: &Home) -> MachineStatusResponse {
    let record: Record = std::fs::read(home.machine_state())
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let mut status = MachineStatusResponse {
        error: record.error,
        warning: record.warning,
        hypervisor: record.hypervisor,
        accelerator: record.accelerator,
        cpus: record.cpus,
        memory: record.memory,
        ready_ms: record.ready_ms,
        log_path: record.log_path,
        home: home.root().to_string_lossy().into_owned(),
        disk_allocated: platform::allocated(&home.data_disk()),
        ..MachineStatusResponse::default()
    };
    let left = MachineState::from_str_name(&record.state).unwrap_or(MachineState::Stopped);
    let state = match left {
        MachineState::Failed => MachineState::Failed,
        MachineState::Stopped | MachineState::Unspecified => MachineState::Stopped,
        _ if lock::is_held(&home.machine_lock()) => MachineState::Starting,
        _ => {
            "the machine process ended without a word: it was killed, or the host went down"
                .clone_into(&mut status.error);
            MachineState::Failed
        }
    };
    status.set_state(state);
    status
}

/// Puts `bytes` in the place of a file, so that a power cut leaves the old one
/// or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(folder: &tempfile::TempDir) -> Home {
        let home = Home::at(folder.path()).unwrap();
        home.prepare().unwrap();
        home
    }

    fn left(home: &Home, state: MachineState) -> MachineStatusResponse {
        let mut status = MachineStatusResponse {
            error: "why".into(),
            accelerator: "tcg".into(),
            ..MachineStatusResponse::default()
        };
        status.set_state(state);
        write(home, &status).unwrap();
        last_state(home)
    }

    #[test]
    fn a_failure_is_told_after_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let status = left(&home(&folder), MachineState::Failed);
        assert_eq!(status.state(), MachineState::Failed);
        assert_eq!(status.error, "why");
        assert_eq!(status.accelerator, "tcg");
    }

    #[test]
    fn a_machine_that_was_running_and_is_not_there_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let status = left(&home(&folder), MachineState::Running);
        assert_eq!(status.state(), MachineState::Failed);
        assert!(status.error.contains("killed"), "{}", status.error);
    }

    #[test]
    fn a_machine_that_holds_its_lock_is_starting() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let lock = File::create(home.machine_lock()).unwrap();
        lock.lock().unwrap();
        let status = left(&home, MachineState::Starting);
        assert_eq!(status.state(), MachineState::Starting);
    }

    #[test]
    fn no_record_and_a_torn_one_are_a_stopped_machine() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        assert_eq!(last_state(&home).state(), MachineState::Stopped);
        std::fs::write(home.machine_state(), "{\"state\": \"RUN").unwrap();
        assert_eq!(last_state(&home).state(), MachineState::Stopped);
    }
}
