//! Pumping one bulk stream between the process and this command's standard
//! input and output.

use std::io::{self, Read, Write};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wherry_client::{BulkReader, BulkStream, BulkWriter};
use wherry_proto::frame::Kind;

use super::detach::{DetachKeys, Detector};
use crate::failure::Failure;

/// How much of standard input is read at once, bytes.
const INPUT_CHUNK: usize = 128 * 1024;

/// How many chunks wait for the guest before reading stops.
const INPUT_CHUNKS: usize = 4;

/// What goes to the process's standard input.
pub(crate) enum Input {
    /// Nothing: its end comes at once.
    Nothing,
    /// All of this command's standard input, then its end.
    All,
    /// What is typed at the terminal, until the keys that detach.
    Typed(DetachKeys),
}

/// How an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The process ended with this exit code.
    Exited(i32),
    /// The stream ended and told no exit code.
    Ended,
    /// The user typed the keys that detach.
    Detached,
    /// Whoever read this command's standard output is gone.
    OutputClosed,
}

/// Pumps `stream` until the process ends, the user detaches or standard output
/// is closed.
pub(crate) async fn attach(stream: BulkStream, input: Input) -> Result<Ending, Failure> {
    let BulkStream { reader, writer } = stream;
    let output = tokio::spawn(write_output(reader));
    let output = AbortOnDrop(output);
    match input {
        Input::Nothing => {
            let mut writer = writer;
            // A process that is gone needs no end of input.
            let _ = writer.end().await;
            joined(output).await
        }
        Input::All => {
            let _sender = AbortOnDrop(tokio::spawn(send_all(writer)));
            joined(output).await
        }
        Input::Typed(keys) => {
            let mut sender = AbortOnDrop(tokio::spawn(send_typed(writer, keys)));
            let mut output = output;
            tokio::select! {
                ending = &mut output.0 => ending.unwrap_or_else(|error| panicked(&error)),
                detached = &mut sender.0 => match detached {
                    Ok(true) => Ok(Ending::Detached),
                    _ => joined(output).await,
                },
            }
        }
    }
}

/// A task that does not outlive who asked for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn joined(mut output: AbortOnDrop<Result<Ending, Failure>>) -> Result<Ending, Failure> {
    (&mut output.0)
        .await
        .unwrap_or_else(|error| panicked(&error))
}

fn panicked(error: &tokio::task::JoinError) -> Result<Ending, Failure> {
    Err(Failure::new(format!(
        "the output could not be followed: {error}"
    )))
}

async fn write_output(mut reader: BulkReader) -> Result<Ending, Failure> {
    let mut ending = Ending::Ended;
    while let Some(frame) = reader.next().await? {
        match frame.kind {
            Kind::Stdout | Kind::Data => {
                let written = tokio::task::block_in_place(|| {
                    let mut stdout = io::stdout().lock();
                    stdout.write_all(&frame.payload)?;
                    stdout.flush()
                });
                match written {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        return Ok(Ending::OutputClosed);
                    }
                    Err(error) => {
                        return Err(Failure::new(format!(
                            "cannot write to standard output: {error}"
                        )));
                    }
                    Ok(()) => {}
                }
            }
            Kind::Stderr => {
                // What fails to reach standard error has nowhere else to go.
                let _ = tokio::task::block_in_place(|| io::stderr().write_all(&frame.payload));
            }
            Kind::Exit => {
                if let Ok(bytes) = <[u8; 4]>::try_from(frame.payload.as_ref()) {
                    ending = Ending::Exited(i32::from_be_bytes(bytes));
                }
            }
            // Nothing else belongs on such a stream; a later version may know better.
            _ => {}
        }
    }
    Ok(ending)
}

async fn send_all(mut writer: BulkWriter) {
    let mut input = read_input();
    while let Some(chunk) = input.recv().await {
        // The process may end before it has read everything. Its output goes on.
        if writer.send(&chunk).await.is_err() {
            return;
        }
    }
    let _ = writer.end().await;
}

/// Returns whether the user typed the keys that detach.
async fn send_typed(mut writer: BulkWriter, keys: DetachKeys) -> bool {
    let mut detector = Detector::new(&keys);
    let mut input = read_input();
    let mut passed = Vec::new();
    while let Some(typed) = input.recv().await {
        passed.clear();
        let detached = detector.filter(&typed, &mut passed);
        if writer.send(&passed).await.is_err() {
            return false;
        }
        if detached {
            return true;
        }
    }
    let _ = writer.send(detector.rest()).await;
    let _ = writer.end().await;
    false
}

/// Reads standard input on a thread of its own, because a read of a terminal
/// cannot be called off. The thread ends with the process.
fn read_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(INPUT_CHUNKS);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; INPUT_CHUNK];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    if sender.blocking_send(buffer[..length].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // As the end: a closed standard input reads so.
                Err(_) => return,
            }
        }
    });
    receiver
}
