//! `wherry system`

mod check;
mod df;
mod prune;

use super::{events, info};
use crate::failure::Outcome;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry system df -v\n  wherry system prune -a --volumes\n  wherry system check --repair"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Verify images, containers and volumes, and look for debris
    Check(check::Arguments),
    /// Show what takes space on the data disk
    Df(df::Arguments),
    /// Show what happens to containers, images, networks and volumes
    Events(events::Arguments),
    /// Show the state of the whole engine
    Info(info::Arguments),
    /// Remove what is not used
    Prune(prune::Arguments),
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments).await,
        Command::Df(arguments) => df::run(&arguments).await,
        Command::Events(arguments) => events::run(arguments).await,
        Command::Info(arguments) => info::run(arguments).await,
        Command::Prune(arguments) => prune::run(&arguments).await,
    }
}
