//! `wherry import`

use std::path::PathBuf;

use wherry_proto::v1::ImportStream;
use wherry_proto::v1::stream_header::Purpose;

use super::archive::{self, Source};
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::OnePlatform;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry import rootfs.tar debian:mine\n  tar -c . | wherry import -c 'CMD [\"/bin/sh\"]' - base"
)]
pub(crate) struct Arguments {
    /// The archive of a root file system, or - for standard input
    file: PathBuf,

    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,

    /// Apply an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR, …
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// A remark for the image's history
    #[arg(short, long, default_value = "")]
    message: String,

    #[command(flatten)]
    _platform: OnePlatform,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let source = Source::open(Some(&arguments.file), "import").await?;
    let connection = Connection::to_machine().await?;
    let stream = connection
        .open(Purpose::Import(ImportStream {
            tag: arguments.name.unwrap_or_default(),
            changes: arguments.change,
            message: arguments.message,
        }))
        .await?;
    let imported = archive::send(stream, source, false).await?;
    let image = imported
        .images
        .first()
        .ok_or_else(|| Failure::new("the machine made no image of the archive"))?;
    output::print_line(&image.id)?;
    Ok(0)
}
