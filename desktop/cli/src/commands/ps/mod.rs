//! `wherry ps`

mod filter;

use std::collections::HashMap;
use std::time::SystemTime;

use wherry_client::size::decimal;
use wherry_proto::v1::container::Status;
use wherry_proto::v1::{Container, ContainerSize, ListContainersRequest, SizesRequest};

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Listing, Row, Template};
use filter::{Filter, age, keep_by_age, matches};

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Show those that do not run too
    #[arg(short, long)]
    all: bool,

    /// Show ids alone
    #[arg(short, long)]
    quiet: bool,

    /// Show ids and commands in full
    #[arg(long)]
    no_trunc: bool,

    /// Show those alone that match: name=, status=, health=, id=, label=, ancestor=,
    /// exited=, before=, since=, volume=, network=, publish=, expose=
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,

    /// table, json, or a template such as '{{.ID}} {{.Names}}'
    #[arg(long)]
    format: Option<String>,

    /// Show the last created, running or not
    #[arg(short, long)]
    latest: bool,

    /// Show the last NUMBER created, running or not
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
    last: i64,

    /// Show how much each has written, and with its image
    #[arg(short, long)]
    size: bool,
}

const AFTER_HELP: &str = "\
Examples:
  wherry ps -a
  wherry ps -q --filter status=exited
  wherry ps -n 3 --size
  wherry ps --format '{{.Names}}: {{.Status}}'
  wherry ps --format 'table {{.Names}}\\t{{.Ports}}'

Fields: .ID .Image .Command .CreatedAt .RunningFor .Status .State .Ports .Names
.Labels .Mounts .LocalVolumes .Networks .Size";

const COLUMNS: [(&str, &str); 7] = [
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
];

/// What `--size` adds.
const SIZE: (&str, &str) = ("SIZE", "Size");

const HEADINGS: [(&str, &str); 2] = [
    ("CREATED AT", "CreatedAt"),
    ("LOCAL VOLUMES", "LocalVolumes"),
];

impl Arguments {
    /// Returns how many are shown, if not all.
    fn limit(&self) -> Option<usize> {
        match usize::try_from(self.last) {
            Ok(last) if last > 0 => Some(last),
            _ => self.latest.then_some(1),
        }
    }

    /// Returns the format; `-q` is one.
    fn format(&self) -> Option<&str> {
        if self.quiet {
            Some("{{.ID}}")
        } else {
            self.format.as_deref()
        }
    }

    /// Tells whether sizes are shown: by their option, or by the template.
    fn sizes(&self) -> Result<bool, Failure> {
        if self.size && !self.quiet {
            return Ok(true);
        }
        match self.format() {
            None | Some("table" | "json") => Ok(false),
            Some(format) => {
                let template = format.strip_prefix("table ").unwrap_or(format);
                Ok(Template::parse(template)?.names(SIZE.1))
            }
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let size = arguments.sizes()?;
    let connection = Connection::to_machine().await?;
    let by_status = |filter: &Filter| matches!(filter, Filter::Status(_) | Filter::Exited(_));
    let by_age = |filter: &Filter| matches!(filter, Filter::Before(_) | Filter::Since(_));
    let limit = arguments.limit();
    let all = arguments.all || limit.is_some() || arguments.filter.iter().any(by_status);
    // Who is named there need not run.
    let aged = arguments.filter.iter().any(by_age);
    let request = ListContainersRequest { all: all || aged };
    let listed = connection.containers().list(request).await?.into_inner();
    let mut containers = listed.containers;
    for filter in arguments.filter.iter().filter(|filter| by_age(filter)) {
        keep_by_age(&mut containers, filter)?;
    }
    if !all {
        containers.retain(is_live);
    }
    containers.retain(|container| matches(&arguments.filter, container));
    containers.sort_by_key(|container| std::cmp::Reverse(age(container)));
    containers.truncate(limit.unwrap_or(usize::MAX));
    let sizes = if size {
        sizes_of(&connection, &containers).await?
    } else {
        HashMap::new()
    };
    let now = SystemTime::now();
    let rows = containers.iter().map(|container| {
        let mut row = output::container_row(container, arguments.no_trunc, now);
        row[SIZE.1] = size_words(sizes.get(&container.id)).into();
        Row::labelled(row, &wherry_docker::container::labels(container))
    });
    let mut columns = COLUMNS.to_vec();
    if size {
        columns.push(SIZE);
    }
    let listing = Listing {
        rows: rows.collect(),
        columns: &columns,
        headings: &HEADINGS,
    };
    output::print_listing(&listing, arguments.format())?;
    Ok(0)
}

/// Returns what a container has written and what it is with its image, in
/// Docker's words.
fn size_words(size: Option<&ContainerSize>) -> String {
    match size {
        Some(size) if size.root > 0 => {
            let (written, root) = (decimal(size.written), decimal(size.root));
            format!("{written} (virtual {root})")
        }
        _ => decimal(size.map_or(0, |size| size.written)),
    }
}

async fn sizes_of(
    connection: &Connection,
    containers: &[Container],
) -> Result<HashMap<String, ContainerSize>, Failure> {
    let request = SizesRequest {
        containers: containers
            .iter()
            .map(|container| container.id.clone())
            .collect(),
    };
    let sizes = connection
        .containers()
        .sizes(request)
        .await?
        .into_inner()
        .sizes;
    let by_id = sizes.into_iter().map(|size| (size.container.clone(), size));
    Ok(by_id.collect())
}

fn is_live(container: &Container) -> bool {
    matches!(
        container.status(),
        Status::Running | Status::Paused | Status::Restarting
    )
}
