//! `wherry rm`

use tonic::Code;
use wherry_proto::v1::{RemoveContainerRequest, RemoveLinkRequest};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry rm job\n  wherry rm -f $(wherry ps -aq)      remove every container"
)]
pub(crate) struct Arguments {
    /// Containers, by name or id; with --link links
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,

    /// Kill it first where it runs, and be content where it is not there
    #[arg(short, long)]
    force: bool,

    /// Remove the link alone, given as CONTAINER/ALIAS
    #[arg(short, long, conflicts_with_all = ["force", "volumes"])]
    link: bool,

    /// Remove its unnamed volumes too
    #[arg(short, long)]
    volumes: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let (force, volumes) = (arguments.force, arguments.volumes);
    if arguments.link {
        return super::for_each(arguments.containers, |link| {
            let mut containers = connection.containers();
            async move {
                let request = RemoveLinkRequest { link: link.clone() };
                containers.remove_link(request).await?;
                output::print_line(&link)
            }
        })
        .await;
    }
    super::for_each(arguments.containers, |name| {
        let mut containers = connection.containers();
        async move {
            let request = RemoveContainerRequest {
                container: name.clone(),
                force,
                volumes,
            };
            match containers.remove(request).await {
                Err(status) if force && status.code() == Code::NotFound => {
                    output::complain(&format!("warning: {}", status.message()));
                    Ok(())
                }
                result => {
                    result?;
                    output::print_line(&name)
                }
            }
        }
    })
    .await
}
