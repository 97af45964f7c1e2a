//! A running QEMU.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::process::Devices;
use super::qmp::{Event, Qmp, QmpError};
use crate::vm::{End, GuestStream, Vm, VmError, VmState};

/// How long QEMU may take to end when it is told to, before it is killed.
const QUIT_DEADLINE: Duration = Duration::from_secs(2);

/// Between two attempts of a VM that waits for room on the host's disk.
const STALL_RETRY: Duration = Duration::from_secs(1);

/// How many lines of QEMU's errors an obituary repeats.
const WORDS: usize = 8;

/// A running QEMU. Dropping it kills it.
pub(super) struct QemuVm {
    pid: u32,
    qmp: Arc<Qmp>,
    devices: Devices,
    state: watch::Receiver<VmState>,
    orders: Arc<Orders>,
    supervisor: JoinHandle<()>,
}

/// What the supervisor is told.
#[derive(Default)]
struct Orders {
    kill: Notify,
    /// The end is wanted, so it is no failure.
    wanted: AtomicBool,
}

impl QemuVm {
    pub(super) fn supervise(
        child: Child,
        qmp: Arc<Qmp>,
        events: mpsc::UnboundedReceiver<Event>,
        devices: Devices,
        last_words: LastWords,
    ) -> Self {
        let pid = child.id().unwrap_or(0);
        let (sender, state) = watch::channel(VmState::Running);
        let orders = Arc::new(Orders::default());
        let supervisor = Supervisor {
            child,
            qmp: qmp.clone(),
            events,
            state: sender,
            orders: orders.clone(),
            last_words,
            cause: None,
        };
        Self {
            pid,
            qmp,
            devices,
            state,
            orders,
            supervisor: tokio::spawn(supervisor.run()),
        }
    }

    async fn execute(&self, command: &str) -> Result<(), VmError> {
        match self.qmp.execute(command).await {
            Ok(_) => Ok(()),
            Err(error) => Err(VmError::Failed(error.to_string())),
        }
    }

    async fn ended(&self) {
        let mut state = self.state.clone();
        let _ = state
            .wait_for(|state| matches!(state, VmState::Ended(_)))
            .await;
    }
}

impl Vm for QemuVm {
    fn state(&self) -> watch::Receiver<VmState> {
        self.state.clone()
    }

    fn pid(&self) -> u32 {
        self.pid
    }

    fn connect(&self, port: u32) -> BoxFuture<'static, io::Result<Box<dyn GuestStream>>> {
        self.devices.vsock.connect(port)
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), VmError>> {
        Box::pin(self.execute("stop"))
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), VmError>> {
        Box::pin(self.execute("cont"))
    }

    fn press_power_button(&self) -> BoxFuture<'_, Result<(), VmError>> {
        Box::pin(self.execute("system_powerdown"))
    }

    fn cut_power(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.orders.wanted.store(true, Ordering::Relaxed);
            let quit = async {
                if self.qmp.execute("quit").await == Err(QmpError::Gone)
                    && !matches!(*self.state.borrow(), VmState::Ended(_))
                {
                    self.orders.kill.notify_one();
                }
                self.ended().await;
            };
            if tokio::time::timeout(QUIT_DEADLINE, quit).await.is_err() {
                self.orders.kill.notify_one();
                self.ended().await;
            }
        })
    }
}

impl Drop for QemuVm {
    fn drop(&mut self) {
        // The child is killed when the supervisor lets go of it.
        self.supervisor.abort();
    }
}

/// Follows a QEMU until its end.
struct Supervisor {
    child: Child,
    qmp: Arc<Qmp>,
    events: mpsc::UnboundedReceiver<Event>,
    state: watch::Sender<VmState>,
    orders: Arc<Orders>,
    last_words: LastWords,
    /// What the end came from, as far as events told.
    cause: Option<End>,
}

impl Supervisor {
    async fn run(mut self) {
        let mut listening = true;
        let status = loop {
            tokio::select! {
                event = self.events.recv(), if listening => match event {
                    Some(event) => self.heed(event).await,
                    None => listening = false,
                },
                () = self.orders.kill.notified() => {
                    let _ = self.child.start_kill();
                }
                () = tokio::time::sleep(STALL_RETRY), if self.stalled() => self.retry().await,
                status = self.child.wait() => break status,
            }
        };
        // The last events may still lie in the pipe.
        while let Some(event) = self.events.recv().await {
            self.heed(event).await;
        }
        let words = self.last_words.after_end().await;
        let end = self.cause.take();
        let wanted = self.orders.wanted.load(Ordering::Relaxed);
        let end = verdict(end, wanted, status, &words);
        self.state.send_replace(VmState::Ended(end));
    }

    async fn heed(&mut self, event: Event) {
        tracing::debug!(name = event.name, data = %event.data, "QEMU event");
        match event.name.as_str() {
            "STOP" => self.stopped().await,
            // One that stalled goes on only to try again.
            "RESUME" if !self.stalled() => {
                self.state.send_replace(VmState::Running);
            }
            "SHUTDOWN" => self.cause = self.cause.take().or_else(|| cause(&event)),
            "GUEST_PANICKED" => {
                self.cause = Some(End::Failed("the guest's kernel panicked".to_owned()));
            }
            "BLOCK_IO_ERROR" if event.data["action"] != "stop" => {
                tracing::error!(
                    device = %event.data["device"],
                    operation = %event.data["operation"],
                    reason = %event.data["reason"],
                    "the guest's disk cannot be read or written"
                );
            }
            _ => {}
        }
    }

    fn stalled(&self) -> bool {
        matches!(*self.state.borrow(), VmState::Stalled(_))
    }

    /// Has a VM that stalled try again, or finds that it did so with success.
    async fn retry(&mut self) {
        match self.status().await.as_deref() {
            Some("running") => {
                tracing::info!("the guest's disk can be written again");
                self.state.send_replace(VmState::Running);
            }
            Some("io-error") => {
                let _ = self.qmp.execute("cont").await;
            }
            _ => {}
        }
    }

    async fn status(&self) -> Option<String> {
        let answer = self.qmp.execute("query-status").await.ok()?;
        answer["status"].as_str().map(str::to_owned)
    }

    /// The processors stand still: because that was asked for, or because they
    /// cannot go on.
    async fn stopped(&mut self) {
        let Some(status) = self.status().await else {
            return;
        };
        match status.as_str() {
            "paused" => {
                self.state.send_replace(VmState::Paused);
            }
            // Only a full disk stops the VM (`werror=enospc`).
            "io-error" if !self.stalled() => {
                let reason = "the host's disk is full: the guest goes on when there is room";
                tracing::error!("{reason}");
                self.state.send_replace(VmState::Stalled(reason.to_owned()));
            }
            "internal-error" | "guest-panicked" | "watchdog" => {
                self.cause = Some(End::Failed(format!("QEMU stopped in `{status}`")));
                let _ = self.child.start_kill();
            }
            _ => {}
        }
    }
}

/// Returns what a SHUTDOWN event says of the end. The reasons are QAPI's
/// `ShutdownCause`.
fn cause(event: &Event) -> Option<End> {
    match event.data["reason"].as_str()? {
        "guest-shutdown" | "host-qmp-quit" => Some(End::PoweredOff),
        // A guest that panics restarts (`panic=-1`), which `-no-reboot` turns
        // into an end.
        "guest-reset" | "guest-panic" => Some(End::Failed(
            "the guest ended by itself, most likely its kernel panicked: the end of the console log says why".to_owned(),
        )),
        "host-signal" => Some(End::Failed("QEMU was ended by a signal".to_owned())),
        other => Some(End::Failed(format!("QEMU ended because of {other}"))),
    }
}

fn verdict(cause: Option<End>, wanted: bool, status: io::Result<ExitStatus>, words: &str) -> End {
    if wanted {
        return End::PoweredOff;
    }
    if let Some(end) = cause {
        return end;
    }
    let status = match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    if words.is_empty() {
        End::Failed(format!("QEMU ended unexpectedly ({status})"))
    } else {
        End::Failed(format!("QEMU ended unexpectedly ({status}): {words}"))
    }
}

/// The last lines that QEMU writes to its standard error.
pub(super) struct LastWords {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: JoinHandle<()>,
}

impl LastWords {
    pub(super) fn follow(errors: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let lines: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let kept = lines.clone();
        let reader = tokio::spawn(async move {
            let mut errors = BufReader::new(errors).lines();
            while let Ok(Some(line)) = errors.next_line().await {
                let line = without_program(&line).to_owned();
                tracing::warn!("QEMU: {line}");
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == WORDS {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        Self { lines, reader }
    }

    /// Returns them in one line, when QEMU has ended.
    pub(super) async fn after_end(self) -> String {
        // Something else may hold the pipe open, so this does not wait for ever.
        let abort = self.reader.abort_handle();
        if tokio::time::timeout(Duration::from_secs(1), self.reader)
            .await
            .is_err()
        {
            abort.abort();
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// QEMU begins its lines with its program's name.
fn without_program(line: &str) -> &str {
    match line.split_once(": ") {
        Some((program, rest)) if program.starts_with("qemu-system-") => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shutdown(reason: &str) -> Option<End> {
        cause(&Event {
            name: "SHUTDOWN".into(),
            data: json!({ "guest": true, "reason": reason }),
        })
    }

    #[test]
    fn a_guest_that_powers_off_has_not_failed() {
        assert_eq!(shutdown("guest-shutdown"), Some(End::PoweredOff));
        assert_eq!(shutdown("host-qmp-quit"), Some(End::PoweredOff));
    }

    #[test]
    fn a_reset_or_a_signal_is_a_failure_with_its_reason() {
        for (reason, word) in [("guest-reset", "panicked"), ("host-signal", "signal")] {
            let Some(End::Failed(text)) = shutdown(reason) else {
                panic!("{reason} is no failure");
            };
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn an_end_nobody_announced_carries_the_last_words() {
        let status = Err(io::Error::other("lost"));
        let end = verdict(None, false, status, "kvm: assertion failed");
        assert_eq!(
            end,
            End::Failed("QEMU ended unexpectedly (lost): kvm: assertion failed".into())
        );
    }
}
