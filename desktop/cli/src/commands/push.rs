//! `wherry push`

use wherry_client::registry;
use wherry_proto::v1::{ListImagesRequest, PushImageRequest};

use super::transfer::{self, Bars};
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::{ContentTrust, OnePlatform};
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry tag app ghcr.io/me/app:2\n  wherry push ghcr.io/me/app:2\n\n\
                  What the registry has already is not sent again. `wherry login` where it wants to know who you are."
)]
pub(crate) struct Arguments {
    /// The image, by the name it is to have in the registry
    #[arg(value_name = "NAME[:TAG]")]
    image: String,

    /// Push all tags of the name
    #[arg(short, long)]
    all_tags: bool,

    /// Show no progress, and print the image's name alone
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    _platform: OnePlatform,

    #[command(flatten)]
    _trust: ContentTrust,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let normalised = wherry_docker::reference::normalised(&arguments.image);
    let (repository, _) = wherry_docker::reference::split_tag(&normalised);
    let has_tag = arguments
        .image
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains([':', '@']));
    if arguments.all_tags && has_tag {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if arguments.image.contains('@') {
        return Err(Failure::new(format!(
            "cannot push a digest reference: name a tag of it, such as {}:latest",
            arguments.image.split('@').next().unwrap_or_default()
        )));
    }
    let connection = Connection::to_machine().await?;
    let names = if arguments.all_tags {
        tags(&connection, repository).await?
    } else {
        vec![arguments.image.clone()]
    };
    if !arguments.quiet {
        if !arguments.all_tags && !has_tag {
            output::print_line("Using default tag: latest")?;
        }
        output::print_line(&format!("The push refers to repository [{repository}]"))?;
    }
    for name in names {
        let access = connection
            .registry_access(registry::of_image(&name))
            .await?;
        let request = PushImageRequest {
            name,
            access: Some(access),
        };
        let bars = Bars::new(arguments.quiet);
        let events = connection.images().push(request).await?.into_inner();
        let result = transfer::watch(events, &bars).await?;
        if arguments.quiet {
            output::print_line(&result.name)?;
        } else {
            let (_, tag) = wherry_docker::reference::split_tag(&result.name);
            output::print_line(&format!(
                "{tag}: digest: {} size: {}",
                result.digest, result.size
            ))?;
        }
    }
    Ok(0)
}

/// Returns every name of a repository that images have here.
async fn tags(connection: &Connection, repository: &str) -> Result<Vec<String>, Failure> {
    let images = connection.images().list(ListImagesRequest {}).await?;
    let images = images.into_inner().images.into_iter();
    let mut names: Vec<String> = images
        .flat_map(|image| image.tags)
        .filter(|tag| wherry_docker::reference::split_tag(tag).0 == repository)
        .collect();
    names.sort();
    if names.is_empty() {
        return Err(Failure::new(format!(
            "An image does not exist locally with the tag: {}",
            wherry_docker::reference::familiar(repository)
        )));
    }
    Ok(names)
}
