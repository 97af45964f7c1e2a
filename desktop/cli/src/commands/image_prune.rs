//! `wherry image prune`

use wherry_client::size;
use wherry_proto::v1::PruneImagesRequest;

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::parse_moment;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry image prune\n  wherry image prune -a -f --filter until=24h\n  wherry image prune --filter label!=keep"
)]
pub(crate) struct Arguments {
    /// Remove every image that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,

    /// Ask nothing
    #[arg(short, long)]
    force: bool,

    /// Remove what fits alone: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
    filter: Vec<Filter>,
}

#[derive(Clone, Debug)]
enum Filter {
    Until(i64),
    Label(String),
    Without(String),
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    if !arguments.force {
        let what = if arguments.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        };
        output::print(&format!(
            "WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] "
        ))?;
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
        if !matches!(answer.trim(), "y" | "Y") {
            output::print_line("Total reclaimed space: 0B")?;
            return Ok(0);
        }
    }
    let mut request = PruneImagesRequest {
        all: arguments.all,
        ..PruneImagesRequest::default()
    };
    for filter in arguments.filter {
        match filter {
            Filter::Until(until) => request.until_ns = until,
            Filter::Label(label) => request.labels.push(label),
            Filter::Without(label) => request.without_labels.push(label),
        }
    }
    let connection = Connection::to_machine().await?;
    let pruned = connection.images().prune(request).await?.into_inner();
    if !pruned.deleted.is_empty() {
        output::print_line("Deleted Images:")?;
        for tag in &pruned.untagged {
            output::print_line(&format!(
                "untagged: {}",
                wherry_docker::reference::familiar(tag)
            ))?;
        }
        for id in &pruned.deleted {
            output::print_line(&format!("deleted: {id}"))?;
        }
        output::print_line("")?;
    }
    output::print_line(&format!(
        "Total reclaimed space: {}",
        size::decimal(pruned.reclaimed)
    ))?;
    Ok(0)
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    if let Some(label) = text.strip_prefix("label!=") {
        return Ok(Filter::Without(label.to_owned()));
    }
    match text.split_once('=') {
        Some(("label", label)) => Ok(Filter::Label(label.to_owned())),
        Some(("until", time)) => Ok(Filter::Until(parse_moment(time)?)),
        _ => Err(format!(
            "invalid filter {text:?}: write until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]"
        )),
    }
}
