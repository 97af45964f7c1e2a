//! `wherry save`

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use wherry_client::BulkStream;
use wherry_proto::frame::Kind;
use wherry_proto::v1::SaveStream;
use wherry_proto::v1::stream_header::Purpose;

use super::archive;
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::OnePlatform;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry save -o both.tar nginx:1.27 redis:7\n  wherry save app | ssh box docker load\n\n\
                  The archive is an OCI layout that Docker loads too. A name without a tag means all its tags."
)]
pub(crate) struct Arguments {
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    _platform: OnePlatform,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let target = match &arguments.output {
        Some(file) => Target::File(beside(file)?),
        None if std::io::stdout().is_terminal() => {
            return Err(Failure::new(
                "cowardly refusing to save to a terminal: use -o FILE, or redirect the output",
            ));
        }
        None => Target::Output,
    };
    let connection = Connection::to_machine().await?;
    let images = arguments.images;
    let stream = connection
        .open(Purpose::Save(SaveStream { images }))
        .await?;
    let target = receive(stream, target).await?;
    if let (Target::File(written), Some(file)) = (target, &arguments.output) {
        written
            .persist(file)
            .map_err(|error| unwritable(file, &error.error))?;
    }
    Ok(0)
}

/// Where an archive goes: a file only when it is whole.
enum Target {
    Output,
    File(NamedTempFile),
}

/// Makes a file that takes the name of another in the end.
fn beside(file: &Path) -> Result<NamedTempFile, Failure> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    archive::check_output(file)?;
    tempfile::Builder::new()
        .prefix(".wherry-save-")
        .tempfile_in(folder)
        .map_err(|error| unwritable(file, &error))
}

async fn receive(stream: BulkStream, mut target: Target) -> Result<Target, Failure> {
    let BulkStream { mut reader, .. } = stream;
    while let Some(frame) = reader.next().await? {
        if frame.kind != Kind::Data {
            continue;
        }
        match &mut target {
            Target::Output => output::print_bytes(&frame.payload)?,
            Target::File(file) => file
                .write_all(&frame.payload)
                .map_err(|error| Failure::new(format!("cannot write the archive: {error}")))?,
        }
    }
    Ok(target)
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", file.display()))
}
