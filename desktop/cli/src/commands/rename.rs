//! `wherry rename`

use wherry_proto::v1::RenameContainerRequest;

use crate::connection::Connection;
use crate::failure::Outcome;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  wherry rename web old-web")]
pub(crate) struct Arguments {
    /// The container, by name or id
    container: String,

    /// Its new name
    name: String,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let request = RenameContainerRequest {
        container: arguments.container,
        name: arguments.name,
    };
    connection.containers().rename(request).await?;
    Ok(0)
}
