//! `wherry images`

mod filter;

use std::time::SystemTime;

use wherry_proto::v1::{Image, ListImagesRequest};

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Listing};
use filter::{Filter, Filters};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry images\n  wherry images nginx\n  wherry images --digests --filter dangling=true\n  wherry images --format '{{.Repository}}:{{.Tag}} {{.Size}}'\n\n\
                        Filters: dangling=BOOL label=KEY[=VALUE] label!=KEY[=VALUE] reference=PATTERN\n         before=IMAGE since=IMAGE until=TIME\nFields: .Repository .Tag .ID .CreatedSince .CreatedAt .Size .Digest"
)]
pub(crate) struct Arguments {
    /// Show the images of this name alone
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,

    /// Show all images; none are hidden here, so this is for Docker's scripts
    #[arg(short, long)]
    all: bool,

    /// Show the digests of manifests too
    #[arg(long)]
    digests: bool,

    /// Show the images that fit alone
    #[arg(short, long, value_name = "FILTER", value_parser = filter::parse)]
    filter: Vec<Filter>,

    #[arg(long, hide = true)]
    tree: bool,

    /// Show ids alone
    #[arg(short, long)]
    quiet: bool,

    /// Show ids in full
    #[arg(long)]
    no_trunc: bool,

    /// table, json, or a template such as '{{.ID}} {{.Repository}}'
    #[arg(long)]
    format: Option<String>,
}

const COLUMNS: [(&str, &str); 5] = [
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
];

const HEADINGS: [(&str, &str); 1] = [("CREATED AT", "CreatedAt")];

/// The place of the digest among the columns.
const DIGEST: usize = 2;

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    if arguments.tree {
        return Err(Failure::new(
            "--tree is not supported: an image here is of one platform, and has no tree below it",
        ));
    }
    let connection = Connection::to_machine().await?;
    let filters = Filters::resolve(&connection, &arguments.filter).await?;
    let mut images = connection
        .images()
        .list(ListImagesRequest {})
        .await?
        .into_inner()
        .images;
    if let Some(name) = &arguments.name {
        for image in &mut images {
            image.tags.retain(|tag| is_named(tag, name));
        }
        images.retain(|image| !image.tags.is_empty());
    }
    filters.apply(&mut images);
    let age = |image: &Image| image.created.map(|time| (time.seconds, time.nanos));
    images.sort_by_key(|image| std::cmp::Reverse(age(image)));
    let now = SystemTime::now();
    let mut rows: Vec<_> = images
        .iter()
        .flat_map(|image| output::image_rows(image, arguments.no_trunc, now))
        .collect();
    if arguments.quiet {
        rows.dedup_by(|a, b| a["ID"] == b["ID"]);
    }
    let mut columns = COLUMNS.to_vec();
    if arguments.digests {
        columns.insert(DIGEST, ("DIGEST", "Digest"));
    }
    let listing = Listing {
        rows: rows.into_iter().map(Into::into).collect(),
        columns: &columns,
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

/// Returns whether a full tag has this name, which may leave the tag out.
fn is_named(tag: &str, name: &str) -> bool {
    let wanted = wherry_docker::reference::normalised(name);
    let has_tag = wanted.ends_with(name) || wherry_docker::reference::familiar(&wanted) == name;
    if has_tag {
        tag == wanted
    } else {
        let repository = |tag: &str| {
            tag.rsplit_once(':')
                .map(|(repository, _)| repository.to_owned())
        };
        repository(tag) == repository(&wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_all_its_tags() {
        let tag = "docker.io/library/nginx:1.27";
        assert!(is_named(tag, "nginx"));
        assert!(is_named(tag, "nginx:1.27"));
        assert!(is_named(tag, "docker.io/library/nginx"));
        assert!(!is_named(tag, "nginx:latest"));
        assert!(!is_named(tag, "ngin"));
    }
}
