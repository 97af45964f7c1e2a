//! `wherry network ls`

use wherry_proto::v1::{ListNetworksRequest, Network};

use crate::commands::filter::{self, Label};
use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output::{self, Listing, Row};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry network ls --filter type=custom\n  wherry network ls --format '{{.Name}}: {{.Driver}}'\n\nFields: .ID .Name .Driver .Scope .IPv4 .IPv6 .Internal .Labels .CreatedAt"
)]
pub(super) struct List {
    /// Show those alone that match: name=, id=, driver=, label=, scope=, type=, dangling=
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_filter)]
    filter: Vec<Filter>,

    /// table, json, or a template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,

    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,

    /// Show ids alone
    #[arg(short, long)]
    quiet: bool,
}

const COLUMNS: [(&str, &str); 4] = [
    ("NETWORK ID", "ID"),
    ("NAME", "Name"),
    ("DRIVER", "Driver"),
    ("SCOPE", "Scope"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Name(String),
    Id(String),
    Driver(String),
    Label(Label),
    Scope(String),
    /// Made by a user.
    Custom(bool),
    /// No container has it.
    Dangling(bool),
}

impl List {
    pub(super) async fn run(self) -> Outcome {
        let connection = Connection::to_machine().await?;
        let listed = connection.networks().list(ListNetworksRequest {}).await?;
        let mut networks = listed.into_inner().networks;
        networks.retain(|network| matches(&self.filter, network));
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let rows = networks.iter();
        let listing = Listing {
            rows: rows
                .map(|network| {
                    let fields = output::network_row(network, self.no_trunc);
                    Row::labelled(fields, &network.labels)
                })
                .collect(),
            columns: &COLUMNS,
            headings: &[("CREATED AT", "CreatedAt")],
        };
        let format = if self.quiet {
            Some("{{.ID}}")
        } else {
            self.format.as_deref()
        };
        output::print_listing(&listing, format)?;
        Ok(0)
    }
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    let keys = "name, id, driver, label, scope, type and dangling";
    let (key, value) = filter::split(text, keys)?;
    Ok(match key {
        "name" => Filter::Name(value.to_owned()),
        "id" => Filter::Id(value.to_owned()),
        "driver" => Filter::Driver(value.to_owned()),
        "label" => Filter::Label(Label::read(value)),
        "scope" => Filter::Scope(value.to_owned()),
        "type" => Filter::Custom(match value {
            "custom" => true,
            "builtin" => false,
            _ => {
                return Err(format!(
                    "invalid filter: type={value:?} is neither custom nor builtin"
                ));
            }
        }),
        "dangling" => Filter::Dangling(filter::dangling(value)?),
        other => return Err(filter::unknown(other, keys)),
    })
}

fn matches(filters: &[Filter], network: &Network) -> bool {
    let custom = !matches!(network.name.as_str(), "bridge" | "host" | "none");
    let one = |filter: &Filter| match filter {
        Filter::Name(part) => network.name.contains(part.as_str()),
        Filter::Id(part) => network.id.contains(part.as_str()),
        Filter::Driver(driver) => network.driver == *driver,
        Filter::Label(label) => label.is_among(&network.labels),
        Filter::Scope(scope) => scope == "local",
        Filter::Custom(wanted) => custom == *wanted,
        Filter::Dangling(dangling) => (custom && network.users == 0) == *dangling,
    };
    filter::all_match(filters, |filter| matches!(filter, Filter::Label(_)), one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_filtered_as_docker_does() {
        let network = Network {
            id: "0123456789ab".to_owned(),
            name: "front".to_owned(),
            driver: "bridge".to_owned(),
            labels: [("a".to_owned(), "1".to_owned())].into(),
            ..Network::default()
        };
        for (texts, expected) in [
            (&[][..], true),
            (&["name=ron"], true),
            (&["name=back", "name=front"], true),
            (&["id=0123"], true),
            (&["id=ff"], false),
            (&["driver=host"], false),
            (&["label=a=1", "type=custom"], true),
            (&["label=a=2"], false),
            (&["type=builtin"], false),
            (&["dangling=true"], true),
            (&["scope=swarm"], false),
        ] {
            let filters: Vec<_> = texts
                .iter()
                .map(|text| parse_filter(text).unwrap())
                .collect();
            assert_eq!(matches(&filters, &network), expected, "{texts:?}");
        }
        for text in ["size=1", "type=x", "dangling=maybe", "name"] {
            assert!(parse_filter(text).is_err(), "{text}");
        }
    }
}
