//! `wherry volume ls`

use wherry_proto::v1::{ListVolumesRequest, Volume};

use crate::commands::filter::{self, Label};
use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::ClusterVolumes;
use crate::output::{self, Listing, Row};

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
    Label(Label),
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
            rows: volumes
                .iter()
                .map(|volume| Row::labelled(output::volume_row(volume), &volume.labels))
                .collect(),
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
    let (key, value) = filter::split(text, keys)?;
    Ok(match key {
        "name" => Filter::Name(value.to_owned()),
        "label" => Filter::Label(Label::read(value)),
        "dangling" => Filter::Dangling(filter::dangling(value)?),
        "driver" => Filter::Driver(value.to_owned()),
        other => return Err(filter::unknown(other, keys)),
    })
}

fn matches(filters: &[Filter], volume: &Volume) -> bool {
    let one = |filter: &Filter| match filter {
        Filter::Name(part) => volume.name.contains(part.as_str()),
        Filter::Label(label) => label.is_among(&volume.labels),
        Filter::Dangling(dangling) => volume.containers.is_empty() == *dangling,
        Filter::Driver(driver) => driver == "local",
    };
    filter::all_match(filters, |filter| matches!(filter, Filter::Label(_)), one)
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
