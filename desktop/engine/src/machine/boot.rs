//! From the settings to a guest that answers.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wherry_client::settings::Accelerator;
use wherry_proto::WIRE_VERSION;
use wherry_proto::v1::InfoResponse;

use super::MachineError;
use super::board::Board;
use super::config::MachineConfig;
use super::guest::Guest;
use crate::vm::{End, Hypervisor, Vm, VmDescription, VmState};

/// How long a guest may take on an accelerator that nobody has seen work, where
/// there is another one to try. Hardware boots the guest in well under a second.
const TRIAL_DEADLINE: Duration = Duration::from_secs(8);

/// How long a guest may take otherwise: an emulated one on a busy host is slow.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);

/// How much of the console log is searched for the reason of a failure, bytes.
const LAST_WORDS: u64 = 4096;

/// A VM whose guest answers.
pub(super) struct Booted {
    pub(super) vm: Arc<dyn Vm>,
    pub(super) guest: Guest,
}

/// Boots the guest on the first accelerator on which it runs.
///
/// A warning that appears in the status while the machine is starting is news;
/// see [`known_warning`] for the others.
///
/// Dropping the future cuts the power of a VM under way.
pub(super) async fn boot(
    hypervisor: &dyn Hypervisor,
    config: &MachineConfig,
    board: &Board,
) -> Result<Booted, MachineError> {
    let wish = config.settings.accelerator;
    let candidates = hypervisor.accelerators(wish)?;
    let mut failures: Vec<(Accelerator, String)> = Vec::new();
    for (index, accelerator) in candidates.iter().copied().enumerate() {
        let last = index + 1 == candidates.len();
        let deadline = if last || hypervisor.confirmed(accelerator) {
            BOOT_DEADLINE
        } else {
            TRIAL_DEADLINE
        };
        board.update(|status| accelerator.name().clone_into(&mut status.accelerator));
        let description = config.description()?;
        match attempt(
            hypervisor,
            &description,
            accelerator,
            deadline,
            config,
            board,
        )
        .await
        {
            Ok(booted) => {
                // Only now is it certain that the accelerator was to blame, and
                // not the guest.
                for (failed, reason) in &failures {
                    hypervisor.reject(*failed, reason);
                }
                hypervisor.confirm(accelerator);
                return Ok(booted);
            }
            Err(error @ MachineError::Boot { .. } | error @ MachineError::Vm(_)) if !last => {
                let reason = brief(&error);
                let text = warning(accelerator, &reason);
                tracing::warn!("{text}");
                board.update(|status| status.warning = text);
                failures.push((accelerator, reason));
            }
            Err(error) => return Err(error),
        }
    }
    // There is always a candidate, and the last one returned above.
    Err(MachineError::Ended {
        reason: "there is no accelerator to boot with".to_owned(),
    })
}

/// Returns the warning that an earlier start has given already, which belongs
/// into the status only when the machine runs.
pub(super) fn known_warning(hypervisor: &dyn Hypervisor, config: &MachineConfig) -> Option<String> {
    let (accelerator, reason) = hypervisor.rejected(config.settings.accelerator)?;
    Some(warning(accelerator, &reason))
}

async fn attempt(
    hypervisor: &dyn Hypervisor,
    description: &VmDescription,
    accelerator: Accelerator,
    deadline: Duration,
    config: &MachineConfig,
    board: &Board,
) -> Result<Booted, MachineError> {
    let console = &description.console_log;
    let before = console.metadata().map_or(0, |metadata| metadata.len());
    let vm = hypervisor.start(description, accelerator).await?;
    board.update(|status| status.hypervisor_pid = vm.pid());
    let mut guest = Guest::new(&vm);
    let mut state = vm.state();
    let failed = |reason: String| MachineError::Boot {
        reason: match last_words(console, before) {
            Some(words) => format!("{reason}: {words}"),
            None => reason,
        },
        console: console.clone(),
    };
    let ended = state.wait_for(|state| matches!(state, VmState::Ended(_)));
    let info = tokio::select! {
        info = guest.ready() => Ok(info),
        state = ended => Err(match state.as_deref() {
            Ok(VmState::Ended(End::Failed(reason))) => failed(reason.clone()),
            _ => failed("it powered off while it booted".to_owned()),
        }),
        () = tokio::time::sleep(deadline) => Err(failed(format!(
            "it did not answer within {} s",
            deadline.as_secs()
        ))),
    };
    match info.and_then(|info| same_version(&info, config)) {
        Ok(()) => Ok(Booted { vm, guest }),
        Err(error) => {
            vm.cut_power().await;
            board.update(|status| status.hypervisor_pid = 0);
            Err(error)
        }
    }
}

fn same_version(info: &InfoResponse, config: &MachineConfig) -> Result<(), MachineError> {
    tracing::info!(
        kernel = info.kernel_version,
        agent = info.agent_version,
        "the guest answers"
    );
    if info.wire_version == WIRE_VERSION {
        return Ok(());
    }
    Err(MachineError::WireVersion {
        image: config.image.folder.clone(),
        guest: info.wire_version,
        host: WIRE_VERSION,
    })
}

/// Returns what the guest says it died of, at the end of its console log,
/// from `begin` on.
fn last_words(console: &Path, begin: u64) -> Option<String> {
    let mut log = File::open(console).ok()?;
    let length = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(
        length.saturating_sub(LAST_WORDS).max(begin),
    ))
    .ok()?;
    let mut end = Vec::new();
    log.read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    let fatal = |line: &&str| line.contains("FATAL") || line.contains("Kernel panic");
    let line = end.lines().rev().find(fatal)?;
    Some(line.trim().to_owned())
}

fn brief(error: &MachineError) -> String {
    let whole = match error {
        MachineError::Boot { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    // The rest of what QEMU said is in the log.
    whole.split("; ").next().unwrap_or_default().to_owned()
}

fn warning(accelerator: Accelerator, reason: &str) -> String {
    format!(
        "{} cannot run the guest on this host ({reason}): the processor is emulated instead, which is about ten times slower",
        accelerator.name()
    )
}

#[cfg(test)]
mod tests;
