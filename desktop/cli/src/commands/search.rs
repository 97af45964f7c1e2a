//! `wherry search`

use serde_json::json;
use wherry_client::registry;
use wherry_proto::v1::SearchImagesRequest;
use wherry_proto::v1::search_images_response::Found;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output::{self, Listing};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry search nginx\n  wherry search --filter is-official=true --limit 5 redis\n\n\
                  Fields: .Name .Description .StarCount .IsOfficial"
)]
pub(crate) struct Arguments {
    /// What to look for, behind a registry's name where it is not docker.io
    #[arg(value_name = "TERM")]
    term: String,

    /// Show what fits alone: stars=NUMBER, is-official=BOOL, is-automated=BOOL
    #[arg(short, long, value_name = "FILTER", value_parser = parse_filter)]
    filter: Vec<Filter>,

    /// The most results
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,

    /// Show descriptions in full
    #[arg(long)]
    no_trunc: bool,

    /// table, json, or a template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Filter {
    Stars(u64),
    Official(bool),
    Automated(bool),
}

const COLUMNS: [(&str, &str); 4] = [
    ("NAME", "Name"),
    ("DESCRIPTION", "Description"),
    ("STARS", "StarCount"),
    ("OFFICIAL", "IsOfficial"),
];

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let access = connection
        .registry_access(registry::of_image(&arguments.term))
        .await?;
    let request = SearchImagesRequest {
        term: arguments.term,
        limit: arguments.limit,
        access: Some(access),
    };
    let found = connection
        .images()
        .search(request)
        .await?
        .into_inner()
        .found;
    let fits = |found: &&Found| {
        arguments.filter.iter().all(|filter| match filter {
            Filter::Stars(least) => found.stars >= *least,
            Filter::Official(wanted) => found.official == *wanted,
            Filter::Automated(wanted) => found.automated == *wanted,
        })
    };
    let rows = found.iter().filter(fits).map(|found| {
        let description = found.description.replace(['\n', '\r', '\t'], " ");
        json!({
            "Name": found.name,
            "Description": if arguments.no_trunc { description } else { output::ellipsis(&description, 45) },
            "StarCount": found.stars.to_string(),
            "IsOfficial": if found.official { "[OK]" } else { "" },
        })
    });
    let listing = Listing {
        rows: rows.map(Into::into).collect(),
        columns: &COLUMNS,
        headings: &[],
    };
    output::print_listing(&listing, arguments.format.as_deref())?;
    Ok(0)
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    let wrong = || {
        format!(
            "invalid filter {text:?}: write stars=NUMBER, is-official=true or is-automated=false"
        )
    };
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    match key {
        "stars" => value.parse().map(Filter::Stars).map_err(|_| wrong()),
        "is-official" => value.parse().map(Filter::Official).map_err(|_| wrong()),
        "is-automated" => value.parse().map(Filter::Automated).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}
