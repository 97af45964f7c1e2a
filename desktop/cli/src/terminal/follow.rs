//! What goes to the process beside its input: signals and the terminal's size.

use tokio::task::JoinSet;
use wherry_proto::v1::{KillContainerRequest, ResizeRequest};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::output;
use crate::platform::{self, Signal};

/// Whose terminal or process it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// The container.
    pub(crate) container: String,
    /// The exec in it; empty for the container's own process.
    pub(crate) exec: String,
}

/// Passes signals and sizes on until it is dropped.
#[derive(Default)]
pub(crate) struct Watch(JoinSet<()>);

impl Watch {
    /// Sends the signals this process receives from now on to the container.
    pub(crate) fn signals(
        &mut self,
        connection: &Connection,
        container: &str,
    ) -> Result<(), Failure> {
        let mut signals = platform::signals().map_err(|error| cannot_watch(&error))?;
        let connection = connection.clone();
        let container = container.to_owned();
        self.0.spawn(async move {
            while let Some(signal) = signals.next().await {
                kill(&connection, &container, signal).await;
            }
        });
        Ok(())
    }

    /// Keeps the size of the process's terminal the same as that of this one.
    pub(crate) fn size(&mut self, connection: &Connection, target: &Target) -> Result<(), Failure> {
        let mut resizes = platform::resizes().map_err(|error| cannot_watch(&error))?;
        let connection = connection.clone();
        let target = target.clone();
        self.0.spawn(async move {
            loop {
                resize(&connection, &target).await;
                if resizes.next().await.is_none() {
                    return;
                }
            }
        });
        Ok(())
    }
}

/// A signal that ends this command while it holds a terminal.
pub(crate) async fn ended_by_signal(signals: &mut platform::Notices<Signal>) -> Signal {
    loop {
        match signals.next().await {
            Some(signal) if !signal.name.starts_with("USR") => return signal,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

fn cannot_watch(error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot watch for signals: {error}"))
}

async fn kill(connection: &Connection, container: &str, signal: Signal) {
    let request = KillContainerRequest {
        container: container.to_owned(),
        signal: signal.name.to_owned(),
    };
    if let Err(status) = connection.containers().kill(request).await {
        // A process that just ended needs no signal any more.
        if !matches!(
            status.code(),
            tonic::Code::NotFound | tonic::Code::FailedPrecondition
        ) {
            output::complain(&format!(
                "cannot pass SIG{} on to the container: {}",
                signal.name,
                status.message()
            ));
        }
    }
}

async fn resize(connection: &Connection, target: &Target) {
    let (rows, columns) = super::size();
    if rows == 0 || columns == 0 {
        return;
    }
    let request = ResizeRequest {
        container: target.container.clone(),
        exec: target.exec.clone(),
        rows,
        columns,
    };
    // Fails for a process that has not started or has just ended: neither needs it.
    let _ = connection.containers().resize(request).await;
}
