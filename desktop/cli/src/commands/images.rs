//! `wherry images`

use std::time::SystemTime;

use wherry_proto::v1::{Image, ListImagesRequest};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output::{self, Listing};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry images\n  wherry images nginx\n  wherry images --format '{{.Repository}}:{{.Tag}} {{.Size}}'\n\n\
                        Fields: .Repository .Tag .ID .CreatedSince .CreatedAt .Size .Digest"
)]
pub(crate) struct Arguments {
    /// Show the images of this name alone
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,

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

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
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
    let listing = Listing {
        rows,
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

/// Returns whether a full tag has this name, which may leave the tag out.
fn is_named(tag: &str, name: &str) -> bool {
    let wanted = output::normalised(name);
    let has_tag = wanted.ends_with(name) || output::familiar(&wanted) == name;
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
