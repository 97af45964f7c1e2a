//! Archives over bulk streams: between the connection and a thread that reads
//! or writes files.

use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, Bytes};
use indicatif::{HumanBytes, ProgressBar};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use wherry_client::BulkStream;
use wherry_proto::frame::{Kind, MAX_PAYLOAD};

use crate::failure::{Failure, Outcome};

/// Pieces between the connection and the thread.
const PIECES: usize = 8;

/// Receives a tar, which `unpack` reads; returns its bytes.
pub(super) async fn receive<F>(stream: BulkStream, quiet: bool, unpack: F) -> Result<u64, Failure>
where
    F: FnOnce(Incoming) -> io::Result<()> + Send + 'static,
{
    let BulkStream {
        mut reader,
        writer: _writer,
    } = stream;
    let (sender, pieces) = mpsc::channel(PIECES);
    let work = tokio::task::spawn_blocking(move || {
        unpack(Incoming {
            pieces,
            piece: Bytes::new(),
        })
    });
    let bar = spinner(quiet);
    let mut bytes = 0;
    while let Some(frame) = reader.next().await? {
        if frame.kind == Kind::Data {
            bytes += frame.payload.len() as u64;
            bar.set_message(HumanBytes(bytes).to_string());
            if sender.send(frame.payload).await.is_err() {
                // It failed, and says why below.
                break;
            }
        }
    }
    drop(sender);
    let worked = work.await;
    bar.finish_and_clear();
    ended(worked)?;
    Ok(bytes)
}

/// Sends a tar, which `pack` writes; returns its bytes.
pub(super) async fn send<F>(stream: BulkStream, quiet: bool, pack: F) -> Result<u64, Failure>
where
    F: FnOnce(Outgoing) -> io::Result<()> + Send + 'static,
{
    let BulkStream {
        mut reader,
        mut writer,
    } = stream;
    let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES);
    let work = tokio::task::spawn_blocking(move || {
        pack(BufWriter::with_capacity(MAX_PAYLOAD, Pieces(sender)))
    });
    let bar = spinner(quiet);
    let mut bytes = 0;
    while let Some(piece) = pieces.recv().await {
        bytes += piece.len() as u64;
        bar.set_message(HumanBytes(bytes).to_string());
        // A stream that broke has a reason, which the answer tells.
        if writer.send(&piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let worked = work.await;
    bar.finish_and_clear();
    let whole = matches!(worked, Ok(Ok(())));
    if whole {
        let _ = writer.end().await;
    } else {
        // Cut off without an end, so that the guest knows it is not whole.
        drop(writer);
    }
    let answer = async {
        while reader.next().await?.is_some() {}
        Ok::<(), Failure>(())
    };
    match worked {
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => answer.await?,
        worked => {
            ended(worked)?;
            answer.await?;
        }
    }
    Ok(bytes)
}

/// Writes a stream's tar to standard output.
pub(crate) async fn to_output(stream: BulkStream) -> Outcome {
    let BulkStream {
        mut reader,
        writer: _writer,
    } = stream;
    let mut output = tokio::io::stdout();
    let failed = |error: io::Error| Failure::new(format!("cannot write standard output: {error}"));
    while let Some(frame) = reader.next().await? {
        output.write_all(&frame.payload).await.map_err(failed)?;
    }
    output.flush().await.map_err(failed)?;
    Ok(0)
}

/// Sends standard input as it is.
pub(super) async fn from_input(stream: BulkStream) -> Outcome {
    let BulkStream {
        mut reader,
        mut writer,
    } = stream;
    let mut input = tokio::io::stdin();
    let mut buffer = vec![0; MAX_PAYLOAD];
    loop {
        let length = input
            .read(&mut buffer)
            .await
            .map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
        let sent = match length {
            0 => writer.end().await,
            length => writer.send(&buffer[..length]).await,
        };
        if length == 0 || sent.is_err() {
            break;
        }
    }
    while reader.next().await?.is_some() {}
    Ok(0)
}

/// Writes what a stream brings to a file, which is there whole or not at all.
pub(crate) async fn receive_to_file(stream: BulkStream, file: &Path) -> Result<(), Failure> {
    let partial = {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        std::path::PathBuf::from(name)
    };
    let (target, shown) = (partial.clone(), file.display().to_string());
    let received = receive(stream, false, move |mut tar| {
        let mut file = std::fs::File::create(&target)?;
        io::copy(&mut tar, &mut file).map(drop)
    })
    .await;
    let failed = |error: io::Error| Failure::new(format!("cannot write {shown}: {error}"));
    let placed = received.and_then(|_| std::fs::rename(&partial, file).map_err(failed));
    if placed.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    placed
}

/// Tells how much was copied, where someone looks.
pub(super) fn tell(quiet: bool, bytes: u64, target: &str) {
    if !quiet && io::stderr().is_terminal() {
        eprintln!("Successfully copied {} to {target}", HumanBytes(bytes));
    }
}

fn ended(worked: Result<io::Result<()>, tokio::task::JoinError>) -> Result<(), Failure> {
    match worked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(format!("cannot copy: {error}"))),
        Err(error) => Err(Failure::new(format!("an internal task failed: {error}"))),
    }
}

fn spinner(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(80));
    bar
}

/// A tar that comes.
pub(super) struct Incoming {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.pieces.blocking_recv().unwrap_or_default();
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// A tar that goes; the last piece goes with a flush.
pub(super) type Outgoing = BufWriter<Pieces>;

/// Hands on each write as a piece.
pub(super) struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.blocking_send(Bytes::copy_from_slice(bytes)) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
