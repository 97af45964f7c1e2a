//! The machine's status, for everyone who asks.

use std::time::Instant;

use tokio::sync::watch;
use wherry_client::Home;
use wherry_proto::v1::{MachineState, MachineStatusResponse};

use super::record;
use crate::platform;

/// Holds the machine's status, tells its changes and records them.
pub(super) struct Board {
    home: Home,
    begun: Instant,
    status: watch::Sender<MachineStatusResponse>,
}

impl Board {
    /// Begins with a machine that is starting.
    pub(super) fn new(home: Home) -> Self {
        let mut status = MachineStatusResponse {
            pid: std::process::id(),
            home: home.root().to_string_lossy().into_owned(),
            log_path: console_log(&home).to_string_lossy().into_owned(),
            ..MachineStatusResponse::default()
        };
        status.set_state(MachineState::Starting);
        let board = Self {
            home,
            begun: Instant::now(),
            status: watch::Sender::new(status),
        };
        board.record();
        board
    }

    /// Changes the status, tells it to all who watch and records it.
    pub(super) fn update(&self, change: impl FnOnce(&mut MachineStatusResponse)) {
        self.status.send_modify(change);
        self.record();
    }

    pub(super) fn set_state(&self, state: MachineState) {
        self.update(|status| status.set_state(state));
    }

    /// Returns the milliseconds since the process began.
    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the status with what is measured on asking filled in.
    pub(super) fn status(&self) -> MachineStatusResponse {
        self.measured(self.status.borrow().clone())
    }

    /// Returns the changes, the present status first.
    pub(super) fn changes(&self) -> watch::Receiver<MachineStatusResponse> {
        let mut changes = self.status.subscribe();
        changes.mark_changed();
        changes
    }

    pub(super) fn measured(&self, mut status: MachineStatusResponse) -> MachineStatusResponse {
        status.uptime_ms = self.elapsed_ms();
        status.disk_allocated = platform::allocated(&self.home.data_disk());
        let processes = [status.pid, status.hypervisor_pid];
        status.resident = platform::resident(if status.hypervisor_pid == 0 {
            &processes[..1]
        } else {
            &processes
        });
        status
    }

    fn record(&self) {
        if let Err(error) = record::write(&self.home, &self.status.borrow()) {
            tracing::warn!(%error, "cannot record the machine's state");
        }
    }
}

/// Returns whether nothing follows a state.
pub(super) fn is_final(state: MachineState) -> bool {
    matches!(state, MachineState::Stopped | MachineState::Failed)
}

/// Returns the log of the guest's consoles.
pub(super) fn console_log(home: &Home) -> std::path::PathBuf {
    home.log().join("console.log")
}
