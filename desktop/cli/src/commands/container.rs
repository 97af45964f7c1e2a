//! The commands on containers, alone or behind `wherry container`.

use clap::Subcommand;

use super::{
    attach, commit, copy, create, diff, exec, export, inspect, kill, logs, pause, port, prune, ps,
    remove, rename, restart, run, start, stats, stop, top, unpause, update, wait,
};
use crate::failure::{ENGINE, FAILED, Outcome};

/// A command that can stand alone.
#[derive(Subcommand, Debug)]
pub(crate) enum ContainerCommand {
    /// Create a container from an image and run it
    Run(Box<run::Arguments>),
    /// Create a container without starting it
    Create(Box<create::Arguments>),
    /// Start containers that are not running
    Start(start::Arguments),
    /// List containers
    Ps(ps::Arguments),
    /// Run a command in a running container
    Exec(exec::Arguments),
    /// Show what a container has written
    Logs(logs::Arguments),
    /// Sit at the input and output of a running container
    Attach(attach::Arguments),
    /// Show the processes of a container
    Top(top::Arguments),
    /// Show what containers use, as it changes
    Stats(stats::Arguments),
    /// Show where a container's ports are published
    Port(port::Arguments),
    /// Wait until containers end, and print their exit codes
    Wait(wait::Arguments),
    /// Stop running containers
    Stop(stop::Arguments),
    /// Stop containers and start them again
    Restart(restart::Arguments),
    /// Send running containers a signal
    Kill(kill::Arguments),
    /// Hold all processes of containers
    Pause(pause::Arguments),
    /// Let paused containers go on
    Unpause(unpause::Arguments),
    /// Give a container another name
    Rename(rename::Arguments),
    /// Copy files out of a container, or into it
    Cp(copy::Arguments),
    /// Show what a container has changed in its image's files
    Diff(diff::Arguments),
    /// Write a container's files as an archive
    Export(export::Arguments),
    /// Make an image of a container
    Commit(commit::Arguments),
    /// Change what a container may use, and when it starts again
    Update(Box<update::Arguments>),
    /// Remove containers
    Rm(remove::Arguments),
}

/// A command behind `container`.
#[derive(Subcommand, Debug)]
pub(crate) enum ContainerGroup {
    #[command(flatten)]
    Common(ContainerCommand),
    /// List containers
    #[command(visible_alias = "list")]
    Ls(ps::Arguments),
    /// Show everything about containers, as JSON
    Inspect(inspect::Arguments),
    /// Remove all containers that do not run
    Prune(prune::Arguments),
}

impl ContainerCommand {
    /// Returns the exit code where the command fails without one of its own.
    pub(crate) fn failure_code(&self) -> u8 {
        match self {
            Self::Run(_) | Self::Exec(_) | Self::Attach(_) => ENGINE,
            Self::Start(start) if start.attaches() => ENGINE,
            _ => FAILED,
        }
    }
}

impl ContainerGroup {
    /// Returns the exit code where the command fails without one of its own.
    pub(crate) fn failure_code(&self) -> u8 {
        match self {
            Self::Common(command) => command.failure_code(),
            _ => FAILED,
        }
    }
}

/// Runs a command that can stand alone.
pub(crate) async fn run_alone(command: ContainerCommand) -> Outcome {
    match command {
        ContainerCommand::Run(arguments) => run::run(*arguments).await,
        ContainerCommand::Create(arguments) => create::run(*arguments).await,
        ContainerCommand::Start(arguments) => start::run(arguments).await,
        ContainerCommand::Ps(arguments) => ps::run(arguments).await,
        ContainerCommand::Exec(arguments) => exec::run(arguments).await,
        ContainerCommand::Logs(arguments) => logs::run(arguments).await,
        ContainerCommand::Attach(arguments) => attach::run(arguments).await,
        ContainerCommand::Top(arguments) => top::run(arguments).await,
        ContainerCommand::Stats(arguments) => stats::run(arguments).await,
        ContainerCommand::Port(arguments) => port::run(arguments).await,
        ContainerCommand::Wait(arguments) => wait::run(arguments).await,
        ContainerCommand::Stop(arguments) => stop::run(arguments).await,
        ContainerCommand::Restart(arguments) => restart::run(arguments).await,
        ContainerCommand::Kill(arguments) => kill::run(arguments).await,
        ContainerCommand::Pause(arguments) => pause::run(arguments).await,
        ContainerCommand::Unpause(arguments) => unpause::run(arguments).await,
        ContainerCommand::Rename(arguments) => rename::run(arguments).await,
        ContainerCommand::Cp(arguments) => copy::run(arguments).await,
        ContainerCommand::Diff(arguments) => diff::run(arguments).await,
        ContainerCommand::Export(arguments) => export::run(arguments).await,
        ContainerCommand::Commit(arguments) => commit::run(arguments).await,
        ContainerCommand::Update(arguments) => update::run(*arguments).await,
        ContainerCommand::Rm(arguments) => remove::run(arguments).await,
    }
}

/// Runs a command behind `container`.
pub(crate) async fn run_group(command: ContainerGroup) -> Outcome {
    match command {
        ContainerGroup::Common(command) => run_alone(command).await,
        ContainerGroup::Ls(arguments) => ps::run(arguments).await,
        ContainerGroup::Inspect(arguments) => inspect::run(arguments.containers_only()).await,
        ContainerGroup::Prune(arguments) => prune::run(arguments).await,
    }
}
