//! `wherry image`: the commands about images under one word, as Docker has them.

use clap::Subcommand;

use super::{
    history, image_prune, images, import, inspect, load, pull, push, remove_image, save, tag,
};
use crate::failure::Outcome;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Arguments),
    /// Show everything about images, as JSON
    Inspect(inspect::ImageArguments),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(remove_image::Arguments),
    /// Remove images that nobody uses
    Prune(image_prune::Arguments),
    /// Give an image another name
    Tag(tag::Arguments),
    /// Save images to an archive
    Save(save::Arguments),
    /// Load images from an archive
    Load(load::Arguments),
    /// Make an image of an archive of files
    Import(import::Arguments),
    /// Fetch an image from a registry
    Pull(pull::Arguments),
    /// Send an image to a registry
    Push(push::Arguments),
    /// Show how an image was made
    History(history::Arguments),
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    match arguments.action {
        Action::Ls(arguments) => images::run(arguments).await,
        Action::Inspect(arguments) => inspect::run(arguments.into()).await,
        Action::Rm(arguments) => remove_image::run(arguments).await,
        Action::Prune(arguments) => image_prune::run(arguments).await,
        Action::Tag(arguments) => tag::run(arguments).await,
        Action::Save(arguments) => save::run(arguments).await,
        Action::Load(arguments) => load::run(arguments).await,
        Action::Import(arguments) => import::run(arguments).await,
        Action::Pull(arguments) => pull::run(arguments).await,
        Action::Push(arguments) => push::run(arguments).await,
        Action::History(arguments) => history::run(arguments).await,
    }
}
