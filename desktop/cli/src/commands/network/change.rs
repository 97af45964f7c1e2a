//! `wherry network rm` and `prune`

use wherry_proto::v1::{PruneNetworksRequest, RemoveNetworkRequest};

use crate::commands::confirm::confirm;
use crate::commands::{filter, for_each};
use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
pub(super) struct Remove {
    /// Networks, by name or id
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,

    /// Be content where it is not there
    #[arg(short, long)]
    force: bool,
}

impl Remove {
    pub(super) async fn run(self) -> Outcome {
        let connection = Connection::to_machine().await?;
        let force = self.force;
        for_each(self.networks, |name| {
            let mut networks = connection.networks();
            async move {
                let request = RemoveNetworkRequest {
                    network: name.clone(),
                    force,
                };
                networks.remove(request).await?;
                output::print_line(&name)
            }
        })
        .await
    }
}

#[derive(clap::Args, Debug)]
pub(super) struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Remove those alone that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse_prune)]
    filter: Vec<filter::Prune>,
}

impl Prune {
    pub(super) async fn run(self) -> Outcome {
        let warning =
            "This will remove all custom networks not used by at least one container.".to_owned();
        if !self.force && !confirm(&warning)? {
            return Ok(0);
        }
        let mut request = PruneNetworksRequest::default();
        for filter in self.filter {
            match filter {
                filter::Prune::Until(time) => request.until_ns = time,
                filter::Prune::Label(label) => request.labels.push(label),
                filter::Prune::NotLabel(label) => request.without_labels.push(label),
            }
        }
        let connection = Connection::to_machine().await?;
        let pruned = connection.networks().prune(request).await?.into_inner();
        if !pruned.removed.is_empty() {
            output::print(&format!(
                "Deleted Networks:\n{}\n\n",
                pruned.removed.join("\n")
            ))?;
        }
        Ok(0)
    }
}
