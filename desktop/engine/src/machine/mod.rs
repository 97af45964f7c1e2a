//! The machine process: it owns the VM, the vsock device, the shares, the
//! listening host ports and the clock, and outlives the `wherryd` that started
//! it.

use wherry_client::Home;
use wherry_proto::v1::MachineStatusResponse;

/// Runs the machine of `home` until it is stopped.
///
/// # Errors
///
/// What kept it from starting.
pub async fn run(_home: Home) -> anyhow::Result<()> {
    anyhow::bail!("the machine process has not landed")
}

/// Returns the state that the last machine of `home` left when it ended:
/// `STOPPED`, or `FAILED` and why. The stopped default where it left none.
#[must_use]
pub fn last_state(_home: &Home) -> MachineStatusResponse {
    MachineStatusResponse::default()
}
