//! `wherry pull`

use wherry_client::registry;
use wherry_proto::v1::{ListTagsRequest, PullImageRequest, TransferResult};

use super::transfer::{self, Bars};
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::ContentTrust;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    image: String,

    /// Fetch all tags of the name
    #[arg(short, long)]
    all_tags: bool,

    /// Show no progress, and print the image's name alone
    #[arg(short, long)]
    quiet: bool,

    /// The platform, where the image is for several
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<String>,

    #[command(flatten)]
    _trust: ContentTrust,
}

const AFTER_HELP: &str = "\
Examples:
  wherry pull nginx                      docker.io/library/nginx:latest
  wherry pull ghcr.io/me/app:2 --platform linux/arm64
  wherry pull localhost:5000/app         from a registry on this computer
  wherry pull -a localhost:5000/app      every tag that it has there

Names, logins and credential helpers are Docker's: `wherry login` where the
registry wants to know who you are. A pull that was cut off goes on where it was.

Settings (config.toml):
  registry_mirrors = [\"https://mirror.example\"]      asked before docker.io
  insecure_registries = [\"box.lan:5000\"]             without TLS, or without a valid certificate
Proxies are those of HTTP_PROXY, HTTPS_PROXY and NO_PROXY.";

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let platform = arguments.platform.as_deref();
    let names = if arguments.all_tags {
        all_tags(&connection, &arguments.image).await?
    } else {
        vec![arguments.image.clone()]
    };
    for name in &names {
        let bars = Bars::new(arguments.quiet);
        let result = pull(&connection, name, platform, &bars).await?;
        output::print(&lines(name, arguments.quiet, &result))?;
    }
    Ok(0)
}

/// Returns the names of all images that a registry has of a repository.
async fn all_tags(connection: &Connection, image: &str) -> Result<Vec<String>, Failure> {
    let last = image.rsplit('/').next();
    if last.is_some_and(|last| last.contains([':', '@'])) {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    let access = connection
        .registry_access(registry::of_image(image))
        .await?;
    let request = ListTagsRequest {
        name: image.to_owned(),
        access: Some(access),
    };
    Ok(connection.images().tags(request).await?.into_inner().names)
}

/// Fetches an image for another command, whose output is not this one's.
pub(super) async fn fetch(
    connection: &Connection,
    image: &str,
    platform: Option<&str>,
    quiet: bool,
) -> Result<(), Failure> {
    let bars = Bars::new(quiet);
    pull(connection, image, platform, &bars).await.map(drop)
}

async fn pull(
    connection: &Connection,
    image: &str,
    platform: Option<&str>,
    bars: &Bars,
) -> Result<TransferResult, Failure> {
    let access = connection
        .registry_access(registry::of_image(image))
        .await?;
    let request = PullImageRequest {
        name: image.to_owned(),
        platform: platform.unwrap_or_default().to_owned(),
        access: Some(access),
    };
    let events = connection.images().pull(request).await?.into_inner();
    transfer::watch(events, bars).await
}

/// What Docker prints in the end.
fn lines(image: &str, quiet: bool, result: &TransferResult) -> String {
    if quiet {
        return format!("{}\n", result.name);
    }
    let name = wherry_docker::reference::familiar(&result.name);
    let (repository, tag) = wherry_docker::reference::split_tag(&result.name);
    let (subject, repository) = match result.name.split_once('@') {
        Some((repository, _)) => (result.name.as_str(), repository),
        None => (tag, repository),
    };
    let (_, path) = repository.split_once('/').unwrap_or(("", repository));
    let begin = if subject == "latest" && !image.ends_with(":latest") {
        "Using default tag: latest\n"
    } else {
        ""
    };
    let status = if result.up_to_date {
        "Image is up to date"
    } else {
        "Downloaded newer image"
    };
    format!(
        "{begin}{subject}: Pulling from {path}\nDigest: {}\nStatus: {status} for {name}\n{}\n",
        result.digest, result.name
    )
}
