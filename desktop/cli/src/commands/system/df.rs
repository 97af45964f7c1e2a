//! `wherry system df`

use std::time::SystemTime;

use serde_json::{Value, json};
use wherry_client::size::decimal;
use wherry_proto::v1::container::Status;
use wherry_proto::v1::{ContainerUsage, DiskUsageRequest, DiskUsageResponse, ImageUsage, Volume};

use crate::connection::Connection;
use crate::failure::{ENGINE, Failure, Outcome};
use crate::output::{self, Listing};

#[derive(clap::Args, Debug)]
#[command(after_help = "Fields: .Type .TotalCount .Active .Size .Reclaimable")]
pub(super) struct Arguments {
    /// Show each image, container and volume
    #[arg(short, long)]
    verbose: bool,

    /// table, json, or a template such as '{{.Type}} {{.Size}}'
    #[arg(long)]
    format: Option<String>,
}

const COLUMNS: [(&str, &str); 5] = [
    ("TYPE", "Type"),
    ("TOTAL", "TotalCount"),
    ("ACTIVE", "Active"),
    ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
];

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    if arguments.verbose && arguments.format.is_some() {
        let message = "conflicting options: --verbose shows tables of its own, without --format";
        return Err(Failure::new(message).with_code(ENGINE));
    }
    let connection = Connection::to_machine().await?;
    let usage = connection.system().disk_usage(DiskUsageRequest {}).await?;
    let usage = usage.into_inner();
    if arguments.verbose {
        return verbose(&usage);
    }
    let listing = Listing {
        rows: summary(&usage).into_iter().map(Into::into).collect(),
        columns: &COLUMNS,
        headings: &[],
    };
    output::print_listing(&listing, arguments.format.as_deref())?;
    Ok(0)
}

/// Tells whether a container can be pruned.
pub(super) fn is_stopped(usage: &ContainerUsage) -> bool {
    let status = usage.container.as_ref().map(|container| container.status());
    matches!(status, Some(Status::Created | Status::Exited))
}

fn summary(usage: &DiskUsageResponse) -> Vec<Value> {
    let row = |kind: &str, total: usize, active: usize, size: u64, reclaimable: u64| {
        let percent = match size {
            0 => String::new(),
            size => format!(" ({}%)", u128::from(reclaimable) * 100 / u128::from(size)),
        };
        json!({
            "Type": kind,
            "TotalCount": total.to_string(),
            "Active": active.to_string(),
            "Size": decimal(size),
            "Reclaimable": format!("{}{percent}", decimal(reclaimable)),
        })
    };
    let used = usage
        .images
        .iter()
        .filter(|image| image.containers > 0)
        .count();
    let unused = usage.images.iter().filter(|image| image.containers == 0);
    let stopped = usage.containers.iter().filter(|usage| is_stopped(usage));
    let size = |volume: &Volume| volume.size.unwrap_or(0);
    let free = usage
        .volumes
        .iter()
        .filter(|volume| volume.containers.is_empty());
    vec![
        row(
            "Images",
            usage.images.len(),
            used,
            usage.layers,
            // Layers that unused images share go too once all of them go.
            if used == 0 {
                usage.layers
            } else {
                unused.map(|image| image.unique).sum()
            },
        ),
        row(
            "Containers",
            usage.containers.len(),
            usage.containers.len() - stopped.clone().count(),
            usage.containers.iter().map(|usage| usage.size).sum(),
            stopped.map(|usage| usage.size).sum(),
        ),
        row(
            "Local Volumes",
            usage.volumes.len(),
            usage.volumes.len() - free.clone().count(),
            usage.volumes.iter().map(size).sum(),
            free.map(size).sum(),
        ),
    ]
}

fn verbose(usage: &DiskUsageResponse) -> Outcome {
    let now = SystemTime::now();
    let mut images: Vec<Value> = Vec::new();
    for ImageUsage {
        image,
        unique,
        containers,
    } in &usage.images
    {
        let Some(image) = image else { continue };
        images.extend(
            output::image_rows(image, false, now)
                .into_iter()
                .map(|mut row| {
                    row["Shared"] = decimal(image.size.saturating_sub(*unique)).into();
                    row["Unique"] = decimal(*unique).into();
                    row["Containers"] = containers.to_string().into();
                    row
                }),
        );
    }
    let containers = usage.containers.iter().filter_map(|usage| {
        let mut row = output::container_row(usage.container.as_ref()?, false, now);
        row["Size"] = decimal(usage.size).into();
        Some(row)
    });
    for (title, rows, columns) in [
        (
            "Images",
            images,
            &[
                ("REPOSITORY", "Repository"),
                ("TAG", "Tag"),
                ("IMAGE ID", "ID"),
                ("CREATED", "CreatedSince"),
                ("SIZE", "Size"),
                ("SHARED SIZE", "Shared"),
                ("UNIQUE SIZE", "Unique"),
                ("CONTAINERS", "Containers"),
            ][..],
        ),
        (
            "Containers",
            containers.collect(),
            &[
                ("CONTAINER ID", "ID"),
                ("IMAGE", "Image"),
                ("COMMAND", "Command"),
                ("LOCAL VOLUMES", "LocalVolumes"),
                ("SIZE", "Size"),
                ("CREATED", "RunningFor"),
                ("STATUS", "Status"),
                ("NAMES", "Names"),
            ],
        ),
        (
            "Local Volumes",
            usage.volumes.iter().map(output::volume_row).collect(),
            &[
                ("VOLUME NAME", "Name"),
                ("LINKS", "Links"),
                ("SIZE", "Size"),
            ],
        ),
    ] {
        output::print(&format!("{title} space usage:\n\n"))?;
        let listing = Listing {
            rows: rows.into_iter().map(Into::into).collect(),
            columns,
            headings: &[],
        };
        output::print_listing(&listing, None)?;
        output::print("\n")?;
    }
    Ok(0)
}
