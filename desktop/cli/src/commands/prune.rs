//! `wherry container prune`

use std::io::{self, BufRead, Write};

use wherry_proto::v1::PruneContainersRequest;

use super::filter;
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry container prune\n  wherry container prune -f --filter until=24h\n  wherry container prune --filter label!=keep"
)]
pub(crate) struct Arguments {
    /// Remove those alone that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse_prune)]
    filter: Vec<filter::Prune>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    if !arguments.force && !agreed()? {
        return Ok(0);
    }
    let mut request = PruneContainersRequest::default();
    for filter in arguments.filter {
        match filter {
            filter::Prune::Until(time) => request.until_ns = time,
            filter::Prune::Label(label) => request.labels.push(label),
            filter::Prune::NotLabel(label) => request.not_labels.push(label),
        }
    }
    let connection = Connection::to_machine().await?;
    let pruned = connection.containers().prune(request).await?.into_inner();
    let mut text = String::new();
    if !pruned.ids.is_empty() {
        text = format!("Deleted Containers:\n{}\n\n", pruned.ids.join("\n"));
    }
    text.push_str(&format!(
        "Total reclaimed space: {}\n",
        wherry_client::size::decimal(pruned.reclaimed)
    ));
    output::print(&text)?;
    Ok(0)
}

fn agreed() -> Result<bool, Failure> {
    output::print(
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ",
    )?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .and_then(|_| io::stdout().flush())
        .map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
}
