//! `wherry network rm` and `prune`

use wherry_proto::v1::{PruneNetworksRequest, RemoveNetworkRequest};

use crate::commands::confirm::confirm;
use crate::commands::for_each;
use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::parse_moment;
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
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_filter)]
    filter: Vec<Filter>,
}

#[derive(Clone, Debug)]
enum Filter {
    /// Nanoseconds since 1970.
    Until(i64),
    With(String),
    Without(String),
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    match text.split_once('=') {
        Some(("until", time)) => parse_moment(time).map(Filter::Until),
        Some(("label", label)) if !label.is_empty() => Ok(Filter::With(label.to_owned())),
        Some(("label!", label)) if !label.is_empty() => Ok(Filter::Without(label.to_owned())),
        _ => Err("write until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]".to_owned()),
    }
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
                Filter::Until(time) => request.until_ns = time,
                Filter::With(label) => request.labels.push(label),
                Filter::Without(label) => request.without_labels.push(label),
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
