//! `wherry stats`

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use wherry_proto::v1::{ContainerStats, StatsRequest};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output::{self, Listing};

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Containers, by name or id; by default those that run
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    /// Show those that do not run too
    #[arg(short, long)]
    all: bool,

    /// Show how it is once, and end
    #[arg(long)]
    no_stream: bool,

    /// Show ids in full
    #[arg(long)]
    no_trunc: bool,

    /// table, json, or a template such as '{{.Name}} {{.CPUPerc}}'
    #[arg(long)]
    format: Option<String>,
}

const AFTER_HELP: &str = "\
Examples:
  wherry stats
  wherry stats --no-stream web db
  wherry stats --format 'table {{.Name}}\\t{{.MemUsage}}'

Fields: .Container .Name .ID .CPUPerc .MemUsage .MemPerc .NetIO .BlockIO .PIDs";

const COLUMNS: [(&str, &str); 8] = [
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
];

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let request = StatsRequest {
        containers: arguments.containers.clone(),
        all: arguments.all,
    };
    let live = !arguments.no_stream && std::io::stdout().is_terminal();
    let mut before = look(&connection, &request).await?;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = look(&connection, &request).await?;
        let known: HashMap<_, _> = before.iter().map(|stats| (&stats.id, stats)).collect();
        let rows = now
            .iter()
            .map(|stats| {
                let before = known.get(&stats.id).copied();
                output::stats_row(stats, before, arguments.no_trunc).into()
            })
            .collect();
        let listing = Listing {
            rows,
            columns: &COLUMNS,
            headings: &[],
        };
        if live {
            // Home, and what is below it away: the last look goes.
            output::print("\x1b[H\x1b[J")?;
        }
        output::print_listing(&listing, arguments.format.as_deref())?;
        if arguments.no_stream {
            return Ok(0);
        }
        before = now;
    }
}

async fn look(
    connection: &Connection,
    request: &StatsRequest,
) -> Result<Vec<ContainerStats>, crate::failure::Failure> {
    let answer = connection.containers().stats(request.clone()).await?;
    Ok(answer.into_inner().stats)
}
