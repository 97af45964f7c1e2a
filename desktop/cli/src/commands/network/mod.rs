//! `wherry network`

mod change;
mod create;
mod list;
mod members;

use wherry_proto::v1::InspectNetworkRequest;

use super::inspect;
use crate::connection::Connection;
use crate::failure::Outcome;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry network create front\n  wherry run -d --name db --network front postgres\n  wherry run --network front app                  # finds it as db\n  wherry network create --subnet 10.10.0.0/24 --internal back\n  wherry network connect --alias store back db\n  wherry network prune"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Connect a container to a network
    Connect(members::Connect),
    /// Make a network
    Create(Box<create::Create>),
    /// Take a container from a network
    Disconnect(members::Disconnect),
    /// Show everything about networks, as JSON
    Inspect(Inspect),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(list::List),
    /// Remove the networks that no container has
    Prune(change::Prune),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(change::Remove),
}

#[derive(clap::Args, Debug)]
struct Inspect {
    /// Networks, by name or id
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,

    /// A template such as '{{.Driver}}', or json
    #[arg(short, long)]
    format: Option<String>,

    /// Say more; there is no more to say of a bridge
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Connect(connect) => connect.run().await,
        Command::Create(create) => create.run().await,
        Command::Disconnect(disconnect) => disconnect.run().await,
        Command::Inspect(arguments) => {
            let connection = Connection::to_machine().await?;
            inspect::each(
                &arguments.names,
                arguments.format.as_deref(),
                async |name| {
                    let request = InspectNetworkRequest {
                        network: name.to_owned(),
                    };
                    let network = connection.networks().inspect(request).await?.into_inner();
                    Ok(wherry_docker::network::inspect(&network))
                },
            )
            .await
        }
        Command::Ls(list) => list.run().await,
        Command::Prune(prune) => prune.run().await,
        Command::Rm(remove) => remove.run().await,
    }
}
