//! `wherry volume create`, `rm` and `prune`

use wherry_client::size;
use wherry_proto::v1::{CreateVolumeRequest, PruneVolumesRequest, RemoveVolumeRequest};

use crate::commands::confirm::confirm;
use crate::commands::for_each;
use crate::connection::Connection;
use crate::failure::{ENGINE, Failure, Outcome};
use crate::options::VolumeDrivers;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  wherry volume create -o type=none -o o=bind -o device=$PWD/site site\n\nWithout a name it gets one of 64 digits, and `wherry volume prune` removes it once no container has it."
)]
pub(super) struct Create {
    /// The volume's name
    #[arg(value_name = "VOLUME")]
    volume: Option<String>,

    /// The volume's name, too
    #[arg(long, value_name = "VOLUME")]
    name: Option<String>,

    /// Attach a label to the volume
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = parse_label)]
    label: Vec<(String, String)>,

    /// Where volumes are: on the data disk
    #[arg(short, long, default_value = "local", value_parser = ["local"])]
    driver: String,

    /// What is behind it: type=none, o=bind and device=FOLDER of the host, or type=tmpfs
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_label)]
    opt: Vec<(String, String)>,

    #[command(flatten)]
    _drivers: VolumeDrivers,
}

impl Create {
    pub(super) async fn run(self) -> Outcome {
        if self.volume.is_some() && self.name.is_some() {
            return Err(Failure::new(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
            )
            .with_code(ENGINE));
        }
        let connection = Connection::to_machine().await?;
        let request = CreateVolumeRequest {
            name: self.volume.or(self.name).unwrap_or_default(),
            labels: self.label.into_iter().collect(),
            options: self.opt.into_iter().collect(),
            bind_source: String::new(),
        };
        let volume = connection.volumes().create(request).await?.into_inner();
        output::print_line(&volume.name)?;
        Ok(0)
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("", _) => Err("the label's name is missing: write KEY=VALUE".to_owned()),
        (key, value) => Ok((key.to_owned(), value.to_owned())),
    }
}

#[derive(clap::Args, Debug)]
pub(super) struct Remove {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,

    /// Be content where it is not there
    #[arg(short, long)]
    force: bool,
}

impl Remove {
    pub(super) async fn run(self) -> Outcome {
        let connection = Connection::to_machine().await?;
        let force = self.force;
        for_each(self.volumes, |name| {
            let mut volumes = connection.volumes();
            async move {
                let request = RemoveVolumeRequest {
                    name: name.clone(),
                    force,
                };
                volumes.remove(request).await?;
                output::print_line(&name)
            }
        })
        .await
    }
}

#[derive(clap::Args, Debug)]
pub(super) struct Prune {
    /// Remove those with a name too, not only anonymous ones
    #[arg(short, long)]
    all: bool,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Remove those alone that match: label=, label!=
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_filter)]
    filter: Vec<(bool, String)>,
}

/// Returns whether the label must be there, and the label.
fn parse_filter(text: &str) -> Result<(bool, String), String> {
    let label = |with, label: &str| Ok((with, label.to_owned()));
    match (text.strip_prefix("label!="), text.strip_prefix("label=")) {
        (Some(without), _) => label(false, without),
        (_, Some(with)) => label(true, with),
        _ => Err("write label=KEY, label=KEY=VALUE or label!=KEY".to_owned()),
    }
}

impl Prune {
    pub(super) async fn run(self) -> Outcome {
        let which = if self.all { "all" } else { "anonymous" };
        let warning =
            format!("This will remove {which} local volumes not used by at least one container.");
        if !self.force && !confirm(&warning)? {
            return Ok(0);
        }
        let labels = |with: bool| -> Vec<String> {
            let wanted = self.filter.iter().filter(|(has, _)| *has == with);
            wanted.map(|(_, label)| label.clone()).collect()
        };
        let request = PruneVolumesRequest {
            all: self.all,
            labels: labels(true),
            without_labels: labels(false),
        };
        let connection = Connection::to_machine().await?;
        let pruned = connection.volumes().prune(request).await?.into_inner();
        let mut text = String::new();
        if !pruned.removed.is_empty() {
            text = format!("Deleted Volumes:\n{}\n\n", pruned.removed.join("\n"));
        }
        text.push_str(&format!(
            "Total reclaimed space: {}\n",
            size::decimal(pruned.reclaimed)
        ));
        output::print(&text)?;
        Ok(0)
    }
}
