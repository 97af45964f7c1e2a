//! `wherry tag`

use wherry_proto::v1::TagImageRequest;

use crate::connection::Connection;
use crate::failure::Outcome;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  wherry tag app:latest ghcr.io/me/app:2")]
pub(crate) struct Arguments {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The name that it gets; an image that had it loses it
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let request = TagImageRequest {
        image: arguments.image,
        name: arguments.name,
    };
    let connection = Connection::to_machine().await?;
    connection.images().tag(request).await?;
    Ok(0)
}
