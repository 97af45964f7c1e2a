//! `wherry ps`

use std::time::SystemTime;

use wherry_proto::v1::container::Status;
use wherry_proto::v1::{Container, ListContainersRequest};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output::{self, Listing};

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

    /// Show those alone that match: name=, status=, health=, id=, label=, ancestor=, exited=
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_filter)]
    filter: Vec<Filter>,

    /// table, json, or a template such as '{{.ID}} {{.Names}}'
    #[arg(long)]
    format: Option<String>,

    /// Show the last created, running or not
    #[arg(short, long)]
    latest: bool,
}

const AFTER_HELP: &str = "\
Examples:
  wherry ps -a
  wherry ps -q --filter status=exited
  wherry ps --format '{{.Names}}: {{.Status}}'
  wherry ps --format 'table {{.Names}}\\t{{.Ports}}'

Fields: .ID .Image .Command .CreatedAt .RunningFor .Status .State .Ports .Names
.Labels .Mounts .LocalVolumes .Networks";

const COLUMNS: [(&str, &str); 7] = [
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
];

const HEADINGS: [(&str, &str); 2] = [
    ("CREATED AT", "CreatedAt"),
    ("LOCAL VOLUMES", "LocalVolumes"),
];

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let by_status = |filter: &Filter| matches!(filter, Filter::Status(_) | Filter::Exited(_));
    let all = arguments.all || arguments.latest || arguments.filter.iter().any(by_status);
    let listed = connection
        .containers()
        .list(ListContainersRequest { all })
        .await?
        .into_inner();
    let mut containers = listed.containers;
    containers.retain(|container| matches(&arguments.filter, container));
    let age = |container: &Container| container.created.map(|time| (time.seconds, time.nanos));
    containers.sort_by_key(|container| std::cmp::Reverse(age(container)));
    if arguments.latest {
        containers.truncate(1);
    }
    let now = SystemTime::now();
    let rows = containers
        .iter()
        .map(|container| output::container_row(container, arguments.no_trunc, now));
    let listing = Listing {
        rows: rows.collect(),
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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Name(String),
    Id(String),
    Status(String),
    Exited(i32),
    Health(String),
    Ancestor(String),
    Label(String, Option<String>),
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    let keys = "name, id, status, health, label, ancestor and exited";
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("write KEY=VALUE; the keys are {keys}"))?;
    Ok(match key {
        "name" => Filter::Name(value.trim_start_matches('/').to_owned()),
        "id" => Filter::Id(value.to_owned()),
        "status" => {
            let known = [
                Status::Created,
                Status::Running,
                Status::Paused,
                Status::Restarting,
                Status::Exited,
                Status::Dead,
            ];
            let known = known.map(output::status_name);
            if !known.contains(&value) {
                return Err(format!(
                    "there is no status {value:?}: use {}",
                    known.join(", ")
                ));
            }
            Filter::Status(value.to_owned())
        }
        "exited" => Filter::Exited(
            value
                .parse()
                .map_err(|_| format!("{value:?} is no exit code"))?,
        ),
        "health" if ["starting", "healthy", "unhealthy", "none"].contains(&value) => {
            Filter::Health(value.to_owned())
        }
        "health" => {
            return Err(format!(
                "there is no health {value:?}: use starting, healthy, unhealthy or none"
            ));
        }
        "ancestor" => Filter::Ancestor(output::normalised(value)),
        "label" => match value.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
            None => Filter::Label(value.to_owned(), None),
        },
        other => return Err(format!("there is no filter {other:?}: the keys are {keys}")),
    })
}

/// As Docker's: of several filters of one key one must match (of labels all),
/// and every key.
fn matches(filters: &[Filter], container: &Container) -> bool {
    let labels = || container.spec.iter().flat_map(|spec| &spec.labels);
    let one = |filter: &Filter| match filter {
        Filter::Name(part) => container.name.contains(part.as_str()),
        Filter::Id(prefix) => container.id.starts_with(prefix.as_str()),
        Filter::Status(status) => output::status_name(container.status()) == status,
        Filter::Exited(code) => {
            container.status() == Status::Exited && container.exit_code == *code
        }
        Filter::Health(word) => output::health_word(container) == word,
        Filter::Ancestor(image) => container
            .spec
            .as_ref()
            .is_some_and(|spec| output::normalised(output::familiar(&spec.image)) == *image),
        Filter::Label(key, value) => labels()
            .any(|(known, has)| known == key && value.as_ref().is_none_or(|value| value == has)),
    };
    filters.iter().all(|filter| match filter {
        Filter::Label(..) => one(filter),
        _ => filters
            .iter()
            .filter(|other| std::mem::discriminant(*other) == std::mem::discriminant(filter))
            .any(one),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::ContainerSpec;

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts
            .iter()
            .map(|text| parse_filter(text).unwrap())
            .collect()
    }

    #[test]
    fn filters_of_one_key_are_alternatives_and_keys_add_up() {
        let container = Container {
            id: "abc123".to_owned(),
            name: "web-1".to_owned(),
            status: Status::Exited.into(),
            exit_code: 3,
            spec: Some(ContainerSpec {
                image: "nginx".to_owned(),
                labels: [("a".to_owned(), "1".to_owned())].into(),
                ..ContainerSpec::default()
            }),
            ..Container::default()
        };
        for (texts, expected) in [
            (&[][..], true),
            (&["name=web"], true),
            (&["name=db", "name=web"], true),
            (&["name=db"], false),
            (&["name=web", "status=running"], false),
            (&["name=web", "status=running", "status=exited"], true),
            (&["id=abc"], true),
            (&["id=bc1"], false),
            (&["exited=3"], true),
            (&["exited=0"], false),
            (&["label=a"], true),
            (&["label=a=1"], true),
            (&["label=a", "label=b"], false),
            (&["ancestor=nginx:latest"], true),
            (&["ancestor=redis"], false),
        ] {
            assert_eq!(matches(&filters(texts), &container), expected, "{texts:?}");
        }
    }

    #[test]
    fn an_unknown_filter_is_told_with_those_there_are() {
        assert!(
            parse_filter("colour=red")
                .unwrap_err()
                .contains("name, id, status")
        );
        assert!(
            parse_filter("status=happy")
                .unwrap_err()
                .contains("running")
        );
        assert!(parse_filter("name").unwrap_err().contains("KEY=VALUE"));
    }
}
