//! `wherry history`

use std::time::SystemTime;

use wherry_proto::v1::ImageHistoryRequest;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::OnePlatform;
use crate::output::{self, Listing};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry history nginx\n  wherry history --no-trunc --format '{{.CreatedBy}}' nginx\n\n\
                  Fields: .ID .CreatedSince .CreatedAt .CreatedBy .Size .Comment"
)]
pub(crate) struct Arguments {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Show ids alone
    #[arg(short, long)]
    quiet: bool,

    /// Show everything in full
    #[arg(long)]
    no_trunc: bool,

    /// Sizes and dates for people; with =false for programs
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    human: bool,

    /// table, json, or a template such as '{{.ID}} {{.CreatedBy}}'
    #[arg(long)]
    format: Option<String>,

    #[command(flatten)]
    _platform: OnePlatform,
}

const COLUMNS: [(&str, &str); 5] = [
    ("IMAGE", "ID"),
    ("CREATED", "CreatedSince"),
    ("CREATED BY", "CreatedBy"),
    ("SIZE", "Size"),
    ("COMMENT", "Comment"),
];

const HEADINGS: [(&str, &str); 1] = [("CREATED AT", "CreatedAt")];

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let request = ImageHistoryRequest {
        name: arguments.image,
    };
    let steps = connection
        .images()
        .history(request)
        .await?
        .into_inner()
        .steps;
    let now = SystemTime::now();
    let rows = steps
        .iter()
        .map(|step| output::history_row(step, arguments.no_trunc, arguments.human, now).into())
        .collect();
    let listing = Listing {
        rows,
        columns: &COLUMNS,
        headings: &HEADINGS,
    };
    let format = if arguments.quiet {
        Some("{{.ID}}")
    } else {
        arguments.format.as_deref()
    };
    output::print_listing(&listing, format)?;
    Ok(0)
}
