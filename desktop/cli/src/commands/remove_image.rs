//! `wherry rmi`

use wherry_proto::v1::RemoveImageRequest;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::OnePlatform;
use crate::output;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Remove it even where it has other names or stopped containers
    #[arg(short, long)]
    force: bool,

    /// Keep unnamed parents; there are none here, so this is for Docker's scripts
    #[arg(long)]
    no_prune: bool,

    #[command(flatten)]
    _platform: OnePlatform,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let force = arguments.force;
    super::for_each(arguments.images, |name| {
        let mut images = connection.images();
        async move {
            let removed = images
                .remove(RemoveImageRequest { name, force })
                .await?
                .into_inner();
            for tag in &removed.untagged {
                output::print_line(&format!(
                    "Untagged: {}",
                    wherry_docker::reference::familiar(tag)
                ))?;
            }
            for id in &removed.deleted {
                output::print_line(&format!("Deleted: {id}"))?;
            }
            Ok(())
        }
    })
    .await
}
