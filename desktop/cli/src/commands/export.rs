//! `wherry export`

use std::path::PathBuf;

use wherry_proto::v1::ExportStream;
use wherry_proto::v1::stream_header::Purpose;

use super::archive;
use super::copy::{receive_to_file, to_output};
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::terminal;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry export -o web.tar web\n  wherry export web | wherry import - web:flat\n\n\
                  What volumes and folders of the host hold is not in it."
)]
pub(crate) struct Arguments {
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The container, by name or id
    container: String,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    if arguments.output.is_none() && terminal::output_is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to write a tar to a terminal: use -o or redirect standard output",
        ));
    }
    if let Some(file) = &arguments.output {
        archive::check_output(file)?;
    }
    let connection = Connection::to_machine().await?;
    let stream = connection
        .open(Purpose::Export(ExportStream {
            container: arguments.container,
        }))
        .await?;
    match &arguments.output {
        Some(file) => receive_to_file(stream, file).await.map(|()| 0),
        None => to_output(stream).await,
    }
}
