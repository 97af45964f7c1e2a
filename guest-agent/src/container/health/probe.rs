//! Running a check once, in its container.

use std::os::fd::AsFd;

use tokio::net::UnixStream;
use tokio::time::timeout;
use wherry_proto::frame::{Kind, read_frame, read_stream_reply};

use super::{Check, Outcome};
use crate::container::error::Error;
use crate::container::exec::command_line;
use crate::container::record::now;
use crate::container::{Container, Containers, chain, name};
use crate::runtime::{ExecSpec, Shim};

/// Bytes of a check's output that are kept, Docker's.
const OUTPUT: usize = 4096;

impl Containers {
    /// Runs a check and waits for its end, or ends it when its time is over.
    /// `None` where the container does not run.
    pub(super) async fn probe(&self, container: &Container, check: &Check) -> Option<Outcome> {
        let shim = container.cell().shim.clone()?;
        let mut outcome = Outcome {
            start_ns: now(),
            exit_code: -1,
            ..Outcome::default()
        };
        match name::new_id() {
            Ok(id) => {
                let command = command_line(&check.command);
                for action in ["exec_create", "exec_start"] {
                    let action = format!("{action}: {command}");
                    self.publish(container, &action, &[("execID", id.clone())]);
                }
                let run = run(&shim, &id, check, &mut outcome);
                let ended = timeout(check.timeout, run).await;
                match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => outcome.output = chain(&error),
                    Err(_) => {
                        outcome.output =
                            format!("Health check exceeded timeout ({:?})", check.timeout);
                        if let Err(error) = shim.kill_exec(&id).await {
                            tracing::debug!(%error, "a check that took too long has ended");
                        }
                    }
                }
            }
            Err(error) => outcome.output = error.to_string(),
        }
        outcome.end_ns = now();
        Some(outcome)
    }
}

async fn run(shim: &Shim, id: &str, check: &Check, outcome: &mut Outcome) -> Result<(), Error> {
    let io = |error| Error::io("running the health check", error);
    let spec = ExecSpec {
        id: id.to_owned(),
        args: check.command.clone(),
        env: Vec::new(),
        cwd: None,
        user: None,
        terminal: false,
        terminal_size: None,
        open_stdin: false,
        privileged: false,
    };
    let (mut ours, theirs) = UnixStream::pair().map_err(io)?;
    shim.exec(spec, Some(theirs.as_fd()))
        .await
        .map_err(|error| Error::Internal(chain(&error)))?;
    drop(theirs);
    let broken = |error: wherry_proto::frame::FrameError| Error::Internal(chain(&error));
    read_stream_reply(&mut ours).await.map_err(broken)?;
    let mut output = Vec::new();
    while let Some(frame) = read_frame(&mut ours).await.map_err(broken)? {
        match frame.kind {
            Kind::Stdout | Kind::Stderr => {
                let room = OUTPUT - output.len();
                output.extend_from_slice(&frame.payload[..frame.payload.len().min(room)]);
            }
            Kind::Exit => {
                if let Ok(code) = frame.payload[..].try_into() {
                    outcome.exit_code = i32::from_be_bytes(code);
                }
            }
            Kind::End => break,
            _ => {}
        }
    }
    outcome.output = String::from_utf8_lossy(&output).into_owned();
    Ok(())
}
