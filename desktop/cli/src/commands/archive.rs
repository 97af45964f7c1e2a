//! Sending an archive to the guest and showing how far it is, for `load` and `import`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};
use wherry_client::{BulkStream, BulkWriter};
use wherry_proto::frame::{Kind, MAX_PAYLOAD};
use wherry_proto::v1::{LoadResult, Progress};

use crate::failure::Failure;
use crate::terminal;

/// Refuses a file that an archive cannot replace, as Docker does: a whole archive
/// takes the name it goes to, be that a device's.
///
/// # Errors
///
/// Where there is something else than a regular file.
pub(crate) fn check_output(file: &Path) -> Result<(), Failure> {
    let refused = |what: &str| {
        Err(Failure::new(format!(
            "invalid output path: {file:?} must be a regular file: got {what}: name a file, or redirect standard output"
        )))
    };
    match std::fs::metadata(file) {
        Ok(there) if there.is_dir() => refused("a folder"),
        Ok(there) if !there.is_file() => refused("a device or a pipe"),
        _ => Ok(()),
    }
}

/// Where an archive comes from.
pub(crate) struct Source {
    /// For messages.
    name: String,
    /// Bytes, where that is known beforehand.
    length: Option<u64>,
    reader: Box<dyn AsyncRead + Send + Unpin>,
}

impl Source {
    /// Opens a file, or standard input where there is none or its name is `-`.
    pub(crate) async fn open(file: Option<&Path>, command: &str) -> Result<Self, Failure> {
        let Some(file) = file.filter(|file| *file != Path::new("-")) else {
            if terminal::input_is_terminal() {
                return Err(Failure::new(format!(
                    "{command} needs an archive: name a file, or pipe one in"
                )));
            }
            return Ok(Self {
                name: "standard input".to_owned(),
                length: None,
                reader: Box::new(tokio::io::stdin()),
            });
        };
        let failed = |error: std::io::Error| {
            Failure::new(format!("cannot read {}: {error}", file.display()))
        };
        let reader = tokio::fs::File::open(file).await.map_err(failed)?;
        let metadata = reader.metadata().await.map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::new(format!(
                "{} is a folder: name an archive",
                file.display()
            )));
        }
        Ok(Self {
            name: PathBuf::from(file).display().to_string(),
            length: metadata.is_file().then_some(metadata.len()),
            reader: Box::new(reader),
        })
    }
}

/// Sends the archive and waits for what the guest has made of it.
pub(crate) async fn send(
    stream: BulkStream,
    source: Source,
    quiet: bool,
) -> Result<LoadResult, Failure> {
    let BulkStream { mut reader, writer } = stream;
    let bar = progress_bar(source.length, quiet);
    let sender_bar = bar.clone();
    let mut sender = tokio::spawn(send_all(writer, source, sender_bar));
    let mut sent = false;
    let mut result = None;
    let answer = async {
        while let Some(frame) = reader.next().await? {
            match frame.kind {
                Kind::Progress => {
                    if let Ok(progress) = Progress::decode(frame.payload) {
                        show(&bar, &progress);
                    }
                }
                Kind::Result => result = LoadResult::decode(frame.payload).ok(),
                _ => {}
            }
        }
        result.ok_or_else(|| Failure::new("the machine did not tell what it made of the archive"))
    };
    tokio::pin!(answer);
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            outcome = &mut sender, if !sent => {
                sent = true;
                match outcome {
                    Ok(Ok(())) => {}
                    // An archive that cannot be read ends it. A stream that
                    // broke has a reason, which the answer tells.
                    Ok(Err(Some(failure))) => break Err(failure),
                    _ => {}
                }
            }
        }
    };
    if !sent {
        sender.abort();
    }
    bar.finish_and_clear();
    answer
}

/// Sends the bytes; fails with `None` where the stream broke.
async fn send_all(
    mut writer: BulkWriter,
    mut source: Source,
    bar: ProgressBar,
) -> Result<(), Option<Failure>> {
    let mut buffer = vec![0; MAX_PAYLOAD];
    loop {
        let length = source.reader.read(&mut buffer).await.map_err(|error| {
            Some(Failure::new(format!(
                "cannot read {}: {error}",
                source.name
            )))
        })?;
        if length == 0 {
            return writer.end().await.map_err(|_| None);
        }
        writer.send(&buffer[..length]).await.map_err(|_| None)?;
        bar.inc(length as u64);
    }
}

fn progress_bar(length: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{spinner} {msg} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {msg} {bytes} {bytes_per_sec}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message("sending");
    bar.enable_steady_tick(Duration::from_millis(80));
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_message(
        format!("{} {}", progress.stage, progress.subject)
            .trim_end()
            .to_owned(),
    );
}
