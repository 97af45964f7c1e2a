//! `wherry volume`

mod change;
mod list;

use wherry_proto::v1::InspectVolumeRequest;

use super::inspect;
use crate::connection::Connection;
use crate::failure::Outcome;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry volume create data\n  wherry run -v data:/var/lib/app app\n  wherry volume ls --filter dangling=true\n  wherry volume rm data"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Make a volume
    Create(change::Create),
    /// Show everything about volumes, as JSON
    Inspect(Inspect),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(list::List),
    /// Remove the volumes that no container has
    Prune(change::Prune),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(change::Remove),
}

#[derive(clap::Args, Debug)]
struct Inspect {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,

    /// A template such as '{{.Mountpoint}}', or json
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Create(create) => create.run().await,
        Command::Inspect(arguments) => {
            let connection = Connection::to_machine().await?;
            inspect::each(
                &arguments.names,
                arguments.format.as_deref(),
                async |name| {
                    let request = InspectVolumeRequest {
                        name: name.to_owned(),
                    };
                    let volume = connection.volumes().inspect(request).await?.into_inner();
                    Ok(wherry_docker::volume::inspect(&volume))
                },
            )
            .await
        }
        Command::Ls(list) => list.run().await,
        Command::Prune(prune) => prune.run().await,
        Command::Rm(remove) => remove.run().await,
    }
}
