//! `wherry events`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::Code;
use wherry_proto::v1::{Event, EventFilter, EventsRequest};

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::parse_moment;
use crate::output::{self, Template};

/// How often, and after what pauses, to ask again where the guest's agent went
/// away: it is started again at once.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Show those alone that match: type=, event=, container=, image=, volume=, network=, label=
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_filter)]
    filter: Vec<(String, String)>,

    /// Show first what happened since then: a moment, or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<i64>,

    /// End then
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<i64>,

    /// json, or a template such as '{{.Action}} {{.Actor.Attributes.name}}'
    #[arg(long)]
    format: Option<String>,
}

const AFTER_HELP: &str = "\
Examples:
  wherry events
  wherry events --since 1h --until 0s --filter event=die
  wherry events --filter container=web --format '{{.Time}} {{.Action}}'

The latest thousand events are kept until the machine stops.

Fields: .Type .Action .Actor.ID .Actor.Attributes .Time .TimeNano .ID .From
.Status .Scope";

const KEYS: [&str; 7] = [
    "type",
    "event",
    "container",
    "image",
    "volume",
    "network",
    "label",
];

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let show = Show::parse(arguments.format.as_deref())?;
    let until = arguments.until.unwrap_or(0);
    let mut request = EventsRequest {
        since_ns: arguments.since.unwrap_or(0),
        until_ns: until,
        filters: filters(&arguments.filter),
    };
    let connection = Connection::to_machine().await?;
    let mut failures = 0;
    loop {
        let begun = now_ns();
        let broken = follow(&connection, &mut request, &show, &mut failures).await?;
        if until != 0 && now_ns() >= until {
            return Ok(0);
        }
        failures += 1;
        if failures > ATTEMPTS {
            return Err(broken.unwrap_or_else(|| Failure::new("the engine ends the events")));
        }
        if request.since_ns == 0 {
            request.since_ns = begun;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Shows events until they break off, and notes in the request which comes
/// next. Returns why they broke off.
async fn follow(
    connection: &Connection,
    request: &mut EventsRequest,
    show: &Show,
    failures: &mut u32,
) -> Result<Option<Failure>, Failure> {
    let mut events = match connection.system().events(request.clone()).await {
        Ok(events) => events.into_inner(),
        Err(status) if status.code() == Code::InvalidArgument => return Err(status.into()),
        Err(status) => return Ok(Some(status.into())),
    };
    loop {
        match events.message().await {
            Ok(Some(event)) if event.r#type == "ready" => {}
            Ok(Some(event)) => {
                *failures = 0;
                request.since_ns = time_ns(&event) + 1;
                output::print_line(&show.render(&event)?)?;
            }
            Ok(None) => return Ok(None),
            Err(status) => return Ok(Some(status.into())),
        }
    }
}

/// How each event is shown.
enum Show {
    Line,
    Json,
    Template(Template),
}

impl Show {
    fn parse(format: Option<&str>) -> Result<Self, Failure> {
        Ok(match format {
            None | Some("") => Self::Line,
            Some("json" | "{{json .}}") => Self::Json,
            Some(format) => Self::Template(Template::parse(format)?),
        })
    }

    fn render(&self, event: &Event) -> Result<String, Failure> {
        match self {
            Self::Line => Ok(wherry_docker::event::line(event)),
            Self::Json => Ok(wherry_docker::event::json(event).to_string()),
            Self::Template(template) => template.render(&wherry_docker::event::fields(event)),
        }
    }
}

fn parse_filter(text: &str) -> Result<(String, String), String> {
    let keys = KEYS.join(", ");
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("write KEY=VALUE; the keys are {keys}"))?;
    if !KEYS.contains(&key) {
        return Err(format!("there is no filter {key:?}: the keys are {keys}"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn filters(pairs: &[(String, String)]) -> Vec<EventFilter> {
    let mut filters: Vec<EventFilter> = Vec::new();
    for (key, value) in pairs {
        match filters.iter_mut().find(|filter| filter.key == *key) {
            Some(filter) => filter.values.push(value.clone()),
            None => filters.push(EventFilter {
                key: key.clone(),
                values: vec![value.clone()],
            }),
        }
    }
    filters
}

fn time_ns(event: &Event) -> i64 {
    let time = event.time.unwrap_or_default();
    time.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(time.nanos.into())
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}
