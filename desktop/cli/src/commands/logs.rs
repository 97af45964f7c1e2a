//! `wherry logs`

use wherry_proto::v1::LogsStream;
use wherry_proto::v1::stream_header::Purpose;

use crate::connection::Connection;
use crate::failure::{Failure, Outcome, PIPE_CLOSED};
use crate::options::parse_moment;
use crate::terminal::{self, Ending, Input};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry logs -f web\n  wherry logs -n 20 -t web\n  wherry logs --since 10m --until 5m web"
)]
pub(crate) struct Arguments {
    /// The container, by name or id
    container: String,

    /// Go on with what it writes from now on
    #[arg(short, long)]
    follow: bool,

    /// Show the last lines alone, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all", value_parser = parse_tail, allow_hyphen_values = true)]
    tail: Tail,

    /// Show what was written from then on: a moment, or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<i64>,

    /// Show what was written until then: a moment, or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<i64>,

    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,

    /// Begin each line with what --log-opt labels=, env= and tag= name
    #[arg(long)]
    details: bool,
}

/// How many lines; `None` for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail(Option<u64>);

/// Docker takes a negative number for all.
fn parse_tail(text: &str) -> Result<Tail, String> {
    if text == "all" || text.parse::<i64>().is_ok_and(|lines| lines < 0) {
        return Ok(Tail(None));
    }
    text.parse()
        .map(|lines| Tail(Some(lines)))
        .map_err(|_| "write a number of lines, or all".to_owned())
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let stream = connection
        .open(Purpose::Logs(LogsStream {
            container: arguments.container,
            stdout: true,
            stderr: true,
            follow: arguments.follow,
            timestamps: arguments.timestamps,
            details: arguments.details,
            tail: arguments.tail.0,
            since_ns: arguments.since.unwrap_or(0),
            until_ns: arguments.until.unwrap_or(0),
        }))
        .await?;
    match terminal::attach(stream, Input::Nothing).await? {
        Ending::OutputClosed => Err(Failure::reported(PIPE_CLOSED)),
        _ => Ok(0),
    }
}
