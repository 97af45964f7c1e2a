//! QEMU as a child process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::{Child, Command};
use wherry_client::settings::Accelerator;

use super::command_line::{self, Architecture, Sockets};
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
    program: &Path,
    description: &VmDescription,
    accelerator: Accelerator,
) -> Result<QemuVm, VmError> {
    let devices = Devices::start(description)?;
    let arguments = command_line::arguments(
        description,
        Architecture::of_host(),
        accelerator,
        &devices.sockets,
    );
    tracing::debug!(program = %program.display(), ?arguments, "starting QEMU");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    platform::die_with_parent(&mut command);
    let mut child = command.spawn().map_err(|source| VmError::Execute {
        program: program.to_owned(),
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
