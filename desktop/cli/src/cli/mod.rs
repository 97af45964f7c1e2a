//! The command line as a whole.

#[cfg(test)]
mod docker_options;
mod parse;

use clap::{Parser, Subcommand};

use crate::commands::container::{ContainerCommand, ContainerGroup};
use crate::commands::{
    certificates, completion, context, docker_env, events, history, image, images, import, info,
    inspect, load, login, logout, machine, network, pull, push, remove_image, save, search, system,
    tag, version, volume,
};
use crate::failure::FAILED;

pub(crate) use parse::parse;

/// Runs containers in a small Linux machine on this computer.
#[derive(Parser, Debug)]
#[command(name = "wherry", version, after_help = AFTER_HELP, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  wherry run hello                            run the built-in image
  wherry pull nginx                           fetch an image from a registry
  wherry run -d --name web -p 8080:80 nginx   run it and publish its port
  wherry exec -it web sh                      look around in it
  wherry rm -f web                            remove it

The engine and its machine start by themselves when a command needs them.

Exit codes:
  0        done
  1        a command failed: one line on standard error says why
  125      a wrong command line; for run, start -a, exec and attach also an engine that failed
  126      the container's command cannot be executed
  127      the container's command was not found
  128+n    the container's process was ended by signal n
  others   of run, start -a, exec and attach: the process's own

Environment:
  WHERRY_HOME    the folder of all state: settings (config.toml), images, containers, logs
  WHERRY_GUEST   the folder of the guest image";

/// Every command, in the order of the help.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    #[command(flatten)]
    Container(ContainerCommand),
    /// Show everything about containers, images, networks or volumes, as JSON
    Inspect(inspect::Arguments),
    /// List images
    Images(images::Arguments),
    /// Fetch an image from a registry
    Pull(pull::Arguments),
    /// Send an image to a registry
    Push(push::Arguments),
    /// Search a registry for images
    Search(search::Arguments),
    /// Give an image another name
    Tag(tag::Arguments),
    /// Show how an image was made
    History(history::Arguments),
    /// Save images to an archive
    Save(save::Arguments),
    /// Load images from an archive
    Load(load::Arguments),
    /// Make an image of an archive of files
    Import(import::Arguments),
    /// Remove images
    Rmi(remove_image::Arguments),
    /// Make, list and remove volumes, which outlive containers
    Volume(volume::Arguments),
    /// Make, list and remove networks, and connect containers to them
    Network(network::Arguments),
    /// The commands on containers, and those to list and prune them
    #[command(name = "container")]
    ContainerGroup {
        #[command(subcommand)]
        command: ContainerGroup,
    },
    /// Show what happens to containers, images, networks and volumes
    Events(events::Arguments),
    /// The commands about images, and their removal where nobody uses them
    Image(image::Arguments),
    /// Log in to a registry
    Login(login::Arguments),
    /// Forget a registry's password
    Logout(logout::Arguments),
    /// Verify what is on the data disk, show what takes space, remove what is unused
    System(system::Arguments),
    /// Start, stop and watch the machine that containers run in
    Machine(machine::Arguments),
    /// Show the state of the whole engine
    Info(info::Arguments),
    /// Show the versions of all parts
    Version(version::Arguments),
    /// Print what points Docker's clients at this engine, for a shell
    DockerEnv(docker_env::Arguments),
    /// Make this engine a context of Docker's clients
    Context(context::Arguments),
    /// Make certificates for the Engine API over TCP
    Certificates(certificates::Arguments),
    /// Print a completion script for a shell
    Completion(completion::Arguments),
}

impl Command {
    /// Returns the exit code where the command fails without one of its own.
    pub(crate) fn failure_code(&self) -> u8 {
        match self {
            Self::Container(command) => command.failure_code(),
            Self::ContainerGroup { command } => command.failure_code(),
            _ => FAILED,
        }
    }
}
