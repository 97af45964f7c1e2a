//! `wherry load`

use std::path::PathBuf;

use wherry_proto::v1::LoadStream;
use wherry_proto::v1::stream_header::Purpose;

use super::archive::{self, Source};
use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::OnePlatform;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry load -i nginx.tar\n  docker save nginx | wherry load\n\n\
                        Takes archives of Docker and OCI, plain or compressed with gzip, bzip2, xz or zstd."
)]
pub(crate) struct Arguments {
    /// The archive; standard input where there is none
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    _platform: OnePlatform,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let source = Source::open(arguments.input.as_deref(), "load").await?;
    let connection = Connection::to_machine().await?;
    let stream = connection.open(Purpose::Load(LoadStream {})).await?;
    let loaded = archive::send(stream, source, arguments.quiet).await?;
    for image in &loaded.images {
        if image.tags.is_empty() {
            output::print_line(&format!("Loaded image ID: {}", image.id))?;
        }
        for tag in &image.tags {
            output::print_line(&format!(
                "Loaded image: {}",
                wherry_docker::reference::familiar(tag)
            ))?;
        }
    }
    Ok(0)
}
