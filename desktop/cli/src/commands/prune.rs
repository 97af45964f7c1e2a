//! `wherry container prune`

use std::io::{self, BufRead, Write};

use wherry_proto::v1::PruneContainersRequest;

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::parse_moment;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry container prune\n  wherry container prune -f --filter until=24h\n  wherry container prune --filter label!=keep"
)]
pub(crate) struct Arguments {
    /// Remove those alone that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_filter)]
    filter: Vec<Filter>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Until(i64),
    Label(String),
    NotLabel(String),
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    let wrong = || "write until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]".to_owned();
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    match (key, value) {
        (_, "") => Err(wrong()),
        ("until", time) => parse_moment(time).map(Filter::Until),
        ("label", label) => Ok(Filter::Label(label.to_owned())),
        ("label!", label) => Ok(Filter::NotLabel(label.to_owned())),
        _ => Err(wrong()),
    }
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    if !arguments.force && !agreed()? {
        return Ok(0);
    }
    let mut request = PruneContainersRequest::default();
    for filter in arguments.filter {
        match filter {
            Filter::Until(time) => request.until_ns = time,
            Filter::Label(label) => request.labels.push(label),
            Filter::NotLabel(label) => request.not_labels.push(label),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_dockers() {
        let label = |text: &str| text.to_owned();
        assert_eq!(parse_filter("label=a=b"), Ok(Filter::Label(label("a=b"))));
        assert_eq!(parse_filter("label!=a"), Ok(Filter::NotLabel(label("a"))));
        assert!(matches!(parse_filter("until=10m"), Ok(Filter::Until(_))));
        for text in ["label", "until=", "name=x", "until=soon"] {
            assert!(parse_filter(text).is_err(), "{text}");
        }
    }
}
