//! `wherry volume ls`

use wherry_proto::v1::{ListVolumesRequest, Volume};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::ClusterVolumes;
use crate::output::{self, Listing};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry volume ls -q --filter dangling=true\n  wherry volume ls --format '{{.Name}}: {{.Mountpoint}}'\n\nFields: .Name .Driver .Scope .Mountpoint .Labels .Links .Size"
)]
pub(super) struct List {
    /// Show those alone that match: name=, label=, dangling=, driver=
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_filter)]
    filter: Vec<Filter>,

    /// table, json, or a template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,

    /// Show names alone
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    _cluster: ClusterVolumes,
}

const COLUMNS: [(&str, &str); 2] = [("DRIVER", "Driver"), ("VOLUME NAME", "Name")];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Name(String),
    Label(String, Option<String>),
    /// No container has it.
    Dangling(bool),
    Driver(String),
}

impl List {
    pub(super) async fn run(self) -> Outcome {
        let connection = Connection::to_machine().await?;
        let mut volumes = connection
            .volumes()
            .list(ListVolumesRequest { sizes: false })
            .await?
            .into_inner()
            .volumes;
        volumes.retain(|volume| matches(&self.filter, volume));
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        let listing = Listing {
            rows: volumes.iter().map(output::volume_row).collect(),
            columns: &COLUMNS,
            headings: &[],
        };
        let format = if self.quiet {
            Some("{{.Name}}")
        } else {
            self.format.as_deref()
        };
        output::print_listing(&listing, format)?;
        Ok(0)
    }
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    let keys = "name, label, dangling and driver";
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("write KEY=VALUE; the keys are {keys}"))?;
    Ok(match key {
        "name" => Filter::Name(value.to_owned()),
        "label" => match value.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
            None => Filter::Label(value.to_owned(), None),
        },
        "dangling" => Filter::Dangling(match value {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(format!("dangling={value} is neither true nor false")),
        }),
        "driver" => Filter::Driver(value.to_owned()),
        other => return Err(format!("there is no filter {other:?}: the keys are {keys}")),
    })
}

/// As Docker's: of several filters of one key one must match (of labels all),
/// and every key.
fn matches(filters: &[Filter], volume: &Volume) -> bool {
    let one = |filter: &Filter| match filter {
        Filter::Name(part) => volume.name.contains(part.as_str()),
        Filter::Label(key, wanted) => volume
            .labels
            .get(key)
            .is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value)),
        Filter::Dangling(dangling) => volume.containers.is_empty() == *dangling,
        Filter::Driver(driver) => driver == "local",
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

    #[test]
    fn volumes_are_filtered_as_docker_does() {
        let volume = Volume {
            name: "cache-1".to_owned(),
            labels: [("a".to_owned(), "1".to_owned())].into(),
            containers: vec!["0123".to_owned()],
            ..Volume::default()
        };
        for (texts, expected) in [
            (&[][..], true),
            (&["name=cache"], true),
            (&["name=data", "name=cache"], true),
            (&["name=data"], false),
            (&["label=a"], true),
            (&["label=a=1"], true),
            (&["label=a=2"], false),
            (&["label=a", "label=b"], false),
            (&["dangling=true"], false),
            (&["dangling=0"], true),
            (&["driver=local"], true),
            (&["driver=nfs"], false),
        ] {
            let filters: Vec<_> = texts
                .iter()
                .map(|text| parse_filter(text).unwrap())
                .collect();
            assert_eq!(matches(&filters, &volume), expected, "{texts:?}");
        }
        assert!(parse_filter("size=1").unwrap_err().contains("dangling"));
        assert!(parse_filter("dangling=maybe").is_err());
    }
}
