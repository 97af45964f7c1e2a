//! `wherry system prune`

use tonic::Code;
use wherry_client::size;
use wherry_proto::v1::{
    ContainerUsage, DiskUsageRequest, DiskUsageResponse, Image, PruneNetworksRequest,
    PruneVolumesRequest, RemoveContainerRequest, RemoveImageRequest,
};

use super::df::is_stopped;
use crate::commands::confirm::confirm;
use crate::commands::filter::{Label, Prune as Filter, parse_prune};
use crate::connection::Connection;
use crate::failure::{ENGINE, Failure, Outcome};
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry system prune\n  wherry system prune -a --volumes -f\n  wherry system prune --filter until=24h --filter label!=keep"
)]
pub(super) struct Arguments {
    /// Remove all images that no container has, not only those without a name
    #[arg(short, long)]
    all: bool,

    /// Remove unnamed volumes too
    #[arg(long)]
    volumes: bool,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Remove that alone that matches: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_prune)]
    filter: Vec<Filter>,
}

/// What filters look at.
struct Subject<'a> {
    created: Option<&'a prost_types::Timestamp>,
    labels: &'a std::collections::HashMap<String, String>,
}

impl Subject<'_> {
    fn is_taken(&self, filter: &Filter) -> bool {
        match filter {
            Filter::Until(time) => self.created.is_some_and(|created| {
                i128::from(created.seconds) * 1_000_000_000 + i128::from(created.nanos)
                    < i128::from(*time)
            }),
            Filter::Label(label) => Label::read(label).is_among(self.labels),
            Filter::NotLabel(label) => !Label::read(label).is_among(self.labels),
        }
    }
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let until = |filter: &Filter| matches!(filter, Filter::Until(_));
    if arguments.volumes && arguments.filter.iter().any(until) {
        let message = "the \"until\" filter is not supported with \"--volumes\"";
        return Err(Failure::new(message).with_code(ENGINE));
    }
    if !arguments.force && !confirm(&warning(arguments))? {
        return Ok(0);
    }
    let connection = Connection::to_machine().await?;
    let before = usage(&connection).await?;
    let (containers, mut reclaimed) = prune_containers(&connection, arguments, &before).await?;
    let mut volumes = Vec::new();
    if arguments.volumes {
        let (mut labels, mut without_labels) = (Vec::new(), Vec::new());
        for filter in &arguments.filter {
            match filter {
                // Refused above.
                Filter::Until(_) => {}
                Filter::Label(label) => labels.push(label.clone()),
                Filter::NotLabel(label) => without_labels.push(label.clone()),
            }
        }
        let request = PruneVolumesRequest {
            all: false,
            labels,
            without_labels,
        };
        let pruned = connection.volumes().prune(request).await?.into_inner();
        reclaimed += pruned.reclaimed;
        volumes = pruned.removed;
    }
    let images = prune_images(&connection, arguments, &usage(&connection).await?).await?;
    let after = usage(&connection).await?;
    reclaimed += before.layers.saturating_sub(after.layers);
    let networks = prune_networks(&connection, arguments).await?;
    let mut text = String::new();
    for (what, gone) in [
        ("Containers", containers),
        ("Networks", networks),
        ("Volumes", volumes),
        ("Images", images),
    ] {
        if !gone.is_empty() {
            text.push_str(&format!("Deleted {what}:\n{}\n\n", gone.join("\n")));
        }
    }
    text.push_str(&format!(
        "Total reclaimed space: {}\n",
        size::decimal(reclaimed)
    ));
    output::print(&text)?;
    Ok(0)
}

fn warning(arguments: &Arguments) -> String {
    let mut lines = vec![
        "This will remove:",
        "  - all stopped containers",
        "  - all networks not used by at least one container",
    ];
    if arguments.volumes {
        lines.push("  - all anonymous volumes not used by at least one container");
    }
    lines.push(if arguments.all {
        "  - all images without at least one container associated to them"
    } else {
        "  - all dangling images"
    });
    lines.push("");
    lines.join("\n")
}

/// Removes the networks that no container has; returns their names.
async fn prune_networks(
    connection: &Connection,
    arguments: &Arguments,
) -> Result<Vec<String>, Failure> {
    let mut request = PruneNetworksRequest::default();
    for filter in &arguments.filter {
        match filter {
            Filter::Until(time) => request.until_ns = *time,
            Filter::Label(label) => request.labels.push(label.clone()),
            Filter::NotLabel(label) => request.without_labels.push(label.clone()),
        }
    }
    let pruned = connection.networks().prune(request).await?;
    Ok(pruned.into_inner().removed)
}

async fn usage(connection: &Connection) -> Result<DiskUsageResponse, Failure> {
    let usage = connection.system().disk_usage(DiskUsageRequest {}).await?;
    Ok(usage.into_inner())
}

/// Removes the stopped containers; returns their ids and the bytes they had.
async fn prune_containers(
    connection: &Connection,
    arguments: &Arguments,
    usage: &DiskUsageResponse,
) -> Result<(Vec<String>, u64), Failure> {
    let (mut ids, mut reclaimed) = (Vec::new(), 0);
    for stopped in usage.containers.iter().filter(|usage| is_stopped(usage)) {
        let ContainerUsage {
            container: Some(container),
            size,
        } = stopped
        else {
            continue;
        };
        let spec = container.spec.clone().unwrap_or_default();
        let subject = Subject {
            created: container.created.as_ref(),
            labels: &spec.labels,
        };
        if !arguments
            .filter
            .iter()
            .all(|filter| subject.is_taken(filter))
        {
            continue;
        }
        let request = RemoveContainerRequest {
            container: container.id.clone(),
            ..RemoveContainerRequest::default()
        };
        match connection.containers().remove(request).await {
            // Started or removed by somebody meanwhile.
            Err(status) if is_passed_over(&status) => {}
            removed => {
                removed?;
                ids.push(container.id.clone());
                reclaimed += size;
            }
        }
    }
    Ok((ids, reclaimed))
}

/// Removes the images that no container has, by their names and without force,
/// so that one that came into use meanwhile stays; returns what is gone.
async fn prune_images(
    connection: &Connection,
    arguments: &Arguments,
    usage: &DiskUsageResponse,
) -> Result<Vec<String>, Failure> {
    let mut gone = Vec::new();
    let unused = usage.images.iter().filter(|usage| usage.containers == 0);
    for image in unused.filter_map(|usage| usage.image.as_ref()) {
        let wanted = arguments.all || image.tags.is_empty();
        if !wanted
            || !arguments
                .filter
                .iter()
                .all(|filter| takes_image(filter, image))
        {
            continue;
        }
        let names = match image.tags.is_empty() {
            true => vec![image.id.clone()],
            false => image.tags.clone(),
        };
        for name in names {
            let request = RemoveImageRequest { name, force: false };
            match connection.images().remove(request).await {
                Err(status) if is_passed_over(&status) => {}
                removed => {
                    let removed = removed?.into_inner();
                    let untagged = removed.untagged.iter();
                    gone.extend(untagged.map(|tag| {
                        format!("untagged: {}", wherry_docker::reference::familiar(tag))
                    }));
                    gone.extend(removed.deleted.iter().map(|id| format!("deleted: {id}")));
                }
            }
        }
    }
    Ok(gone)
}

fn takes_image(filter: &Filter, image: &Image) -> bool {
    let config = image.config.clone().unwrap_or_default();
    let subject = Subject {
        created: image.created.as_ref(),
        labels: &config.labels,
    };
    subject.is_taken(filter)
}

fn is_passed_over(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::FailedPrecondition | Code::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_and_applied_as_dockers() {
        let labels = [("a".to_owned(), "b".to_owned())].into();
        let created = prost_types::Timestamp {
            seconds: 1000,
            nanos: 0,
        };
        let subject = Subject {
            created: Some(&created),
            labels: &labels,
        };
        for (text, expected) in [
            ("label=a", true),
            ("label=a=b", true),
            ("label=a=c", false),
            ("label!=a", false),
            ("label!=c", true),
            ("until=10m", true),
            ("until=1970-01-01T00:00:01Z", false),
        ] {
            assert_eq!(
                subject.is_taken(&parse_prune(text).unwrap()),
                expected,
                "{text}"
            );
        }
        for text in ["label", "until=", "name=x", "until=soon"] {
            assert!(parse_prune(text).is_err(), "{text}");
        }
    }
}
