//! QEMU as a child process.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::{Child, Command};
use wherry_client::settings::Accelerator;

use super::command_line::{self, Architecture, Machine, Sockets};
use super::hypervisor::Qemu;
use super::qmp::{Qmp, QmpError};
use super::share;
use super::vm::{LastWords, QemuVm};
use super::vsock::Vsock;
use crate::platform;
use crate::vm::{VmDescription, VmError};

/// Descriptors that this process keeps for itself: listening ports, connections,
/// relays.
const OWN_OPEN_FILES: u64 = 32 * 1024;

/// Starts the devices and QEMU, and returns when QEMU answers.
pub(super) async fn start(
    qemu: &Qemu,
    description: &VmDescription,
    accelerator: Accelerator,
) -> Result<QemuVm, VmError> {
    let devices = Devices::start(description)?;
    let arguments = command_line::arguments(
        &Machine {
            architecture: Architecture::of_host(),
            accelerator,
            tsc_khz: qemu.tsc.kilohertz().await,
            sockets: &devices.sockets,
        },
        description,
    );
    tracing::debug!(program = %qemu.program.display(), ?arguments, more = ?qemu.more_arguments, "starting QEMU");
    let mut command = Command::new(&qemu.program);
    command
        .args(arguments)
        .args(&qemu.more_arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // What ends a terminal's processes leaves the guest alone.
    #[cfg(unix)]
    command.process_group(0);
    platform::die_with_parent(&mut command);
    let mut child = command.spawn().map_err(|source| VmError::Execute {
        program: qemu.program.clone(),
        source,
    })?;
    let (Some(input), Some(output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(VmError::Failed("QEMU has no standard streams".to_owned()));
    };
    let last_words = LastWords::follow(errors);
    let (qmp, events) = Qmp::new(output, input);
    match qmp.execute("qmp_capabilities").await {
        Ok(_) => Ok(QemuVm::supervise(
            child,
            Arc::new(qmp),
            events,
            devices,
            last_words,
        )),
        Err(QmpError::Gone) => Err(VmError::Failed(obituary(&mut child, last_words).await)),
        Err(refused) => Err(VmError::Failed(refused.to_string())),
    }
}

/// Returns how a QEMU that did not come up ended.
async fn obituary(child: &mut Child, last_words: LastWords) -> String {
    let _ = child.start_kill();
    let status = child.wait().await;
    let words = last_words.after_end().await;
    match status {
        _ if !words.is_empty() => format!("QEMU failed to start: {words}"),
        Ok(status) => format!("QEMU failed to start: {status}"),
        Err(error) => format!("QEMU failed to start: {error}"),
    }
}

/// The devices that this process implements, and their sockets.
pub(super) struct Devices {
    pub(super) vsock: Vsock,
    sockets: Sockets,
}

impl Devices {
    fn start(description: &VmDescription) -> Result<Self, VmError> {
        let socket = description.run.join("vsock.sock");
        let vsock = Vsock::start(&socket)?;
        let mut devices = Self {
            vsock,
            sockets: Sockets {
                vsock: Some(socket),
                shares: Vec::new(),
            },
        };
        let each = open_files_for_each(description.shares.len());
        for share in &description.shares {
            let socket = description.run.join(format!("{}.sock", share.tag));
            share::serve(share, &socket, each)?;
            devices.sockets.shares.push((share.tag.clone(), socket));
        }
        Ok(devices)
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        for socket in self.sockets.shares.iter().map(|(_, socket)| socket) {
            release(socket);
        }
        for socket in self.sockets.vsock.iter() {
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// Removes a share's socket, and ends the wait of a share that QEMU never
/// connected to.
fn release(socket: &PathBuf) {
    #[cfg(unix)]
    drop(std::os::unix::net::UnixStream::connect(socket));
    let _ = std::fs::remove_file(socket);
}

fn open_files_for_each(shares: usize) -> u64 {
    let limit = platform::open_file_limit();
    let own = OWN_OPEN_FILES.min(limit / 2);
    (limit - own) / u64::try_from(shares.max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use crate::vm::{End, Options, Share, Vm, VmState};

    /// A QEMU that talks QMP for a while and then fails as the real one was
    /// seen to.
    const TALKS: &str = r#"#!/bin/sh
echo '{"QMP": {"version": {}, "capabilities": []}}'
read -r capabilities
echo '{"return": {}}'
"#;

    async fn start_script(folder: &tempfile::TempDir, script: &str) -> Result<QemuVm, VmError> {
        let program = folder.path().join("qemu");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let description = VmDescription {
            kernel: "kernel".into(),
            initramfs: "initramfs".into(),
            command_line: String::new(),
            cpus: 1,
            memory: 128 << 20,
            disks: Vec::new(),
            shares: vec![Share {
                tag: "share0".into(),
                folder: folder.path().to_owned(),
            }],
            network: false,
            console_log: folder.path().join("console.log"),
            run: folder.path().to_owned(),
        };
        let qemu = Qemu::find(&Options {
            qemu: Some(program),
            verdicts: folder.path().join("accelerators.json"),
            qemu_arguments: " -name  two ".to_owned(),
        })?;
        start(&qemu, &description, Accelerator::Kvm).await
    }

    async fn failure(vm: &QemuVm) -> String {
        let mut state = vm.state();
        let ended = state.wait_for(|state| matches!(state, VmState::Ended(_)));
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        match ended.unwrap().unwrap().clone() {
            VmState::Ended(End::Failed(reason)) => reason,
            other => panic!("{other:?} is no failure"),
        }
    }

    #[tokio::test]
    async fn arguments_of_the_environment_come_last() {
        let folder = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\necho \"$*\" >&2\nexit 1\n";
        let error = start_script(&folder, script).await.err().unwrap();
        assert_eq!(error.to_string(), "QEMU failed to start: -name two");
    }

    #[tokio::test]
    async fn a_qemu_that_refuses_to_start_is_quoted_and_leaves_no_socket() {
        let folder = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\necho 'invalid accelerator kvm' >&2\nexit 1\n";
        let error = start_script(&folder, script)
            .await
            .err()
            .unwrap()
            .to_string();
        assert_eq!(error, "QEMU failed to start: invalid accelerator kvm");
        assert!(!folder.path().join("share0.sock").exists());
        assert!(!folder.path().join("vsock.sock").exists());
    }

    #[tokio::test]
    async fn a_qemu_that_aborts_is_quoted_with_its_signal() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("{TALKS}echo 'Assertion failed' >&2\nkill -ABRT $$\n");
        let vm = start_script(&folder, &script).await.unwrap();
        let reason = failure(&vm).await;
        assert!(
            reason.contains("signal: 6") && reason.contains("Assertion failed"),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn a_stop_in_internal_error_is_a_failure_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "{TALKS}echo '{{\"event\": \"STOP\"}}'\nread -r query\n\
             echo '{{\"return\": {{\"status\": \"internal-error\"}}}}'\nexec sleep 600\n"
        );
        let vm = start_script(&folder, &script).await.unwrap();
        let reason = failure(&vm).await;
        assert!(reason.contains("internal-error"), "{reason}");
    }

    #[tokio::test]
    async fn a_full_disk_of_the_host_stalls_the_guest_until_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        // Stops, says why, is told to go on, and runs.
        let script = format!(
            "{TALKS}answer() {{ read -r command; echo \"{{\\\"return\\\": $1}}\"; }}\n\
             status() {{ answer \"{{\\\"status\\\": \\\"$1\\\"}}\"; }}\n\
             echo '{{\"event\": \"STOP\"}}'\nstatus io-error\nstatus io-error\nanswer '{{}}'\n\
             echo '{{\"event\": \"RESUME\"}}'\nstatus running\nexec sleep 600\n"
        );
        let vm = start_script(&folder, &script).await.unwrap();
        let mut state = vm.state();
        let deadline = Duration::from_secs(20);
        let stalled = state.wait_for(|state| matches!(state, VmState::Stalled(_)));
        tokio::time::timeout(deadline, stalled)
            .await
            .unwrap()
            .unwrap();
        let running = state.wait_for(|state| *state == VmState::Running);
        tokio::time::timeout(deadline, running)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_qemu_that_does_not_quit_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let vm = start_script(&folder, &format!("{TALKS}exec sleep 600\n"))
            .await
            .unwrap();
        vm.cut_power().await;
        assert_eq!(*vm.state().borrow(), VmState::Ended(End::PoweredOff));
    }
}
