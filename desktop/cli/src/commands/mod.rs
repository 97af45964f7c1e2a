//! The commands, a file each: its options, its help and what it does.

pub(crate) mod certificates;
pub(crate) mod completion;
pub(crate) mod container;
pub(crate) mod context;
pub(crate) mod docker_env;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod image;
pub(crate) mod image_prune;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove_image;
pub(crate) mod save;
pub(crate) mod search;
pub(crate) mod system;
pub(crate) mod tag;
pub(crate) mod version;
pub(crate) mod volume;

mod archive;
mod attach;
mod commit;
mod confirm;
mod copy;
mod create;
mod diff;
mod exec;
mod export;
mod filter;
mod kill;
mod logs;
mod pause;
mod port;
mod prune;
mod ps;
mod remove;
mod rename;
mod restart;
mod run;
mod session;
mod start;
mod stats;
mod stop;
mod top;
mod transfer;
mod unpause;
mod update;
mod wait;

use crate::cli::Command;
use crate::failure::{FAILED, Failure, Outcome};
use crate::output;

/// Runs a command.
pub(crate) async fn run(command: Command) -> Outcome {
    match command {
        Command::Container(command) => container::run_alone(command).await,
        Command::ContainerGroup { command } => container::run_group(command).await,
        Command::Events(arguments) => events::run(arguments).await,
        Command::Inspect(arguments) => inspect::run(arguments).await,
        Command::Images(arguments) => images::run(arguments).await,
        Command::Load(arguments) => load::run(arguments).await,
        Command::Import(arguments) => import::run(arguments).await,
        Command::Rmi(arguments) => remove_image::run(arguments).await,
        Command::Network(arguments) => network::run(arguments).await,
        Command::Volume(arguments) => volume::run(arguments).await,
        Command::Pull(arguments) => pull::run(arguments).await,
        Command::Push(arguments) => push::run(arguments).await,
        Command::Tag(arguments) => tag::run(arguments).await,
        Command::Save(arguments) => save::run(arguments).await,
        Command::History(arguments) => history::run(arguments).await,
        Command::Search(arguments) => search::run(arguments).await,
        Command::Image(arguments) => image::run(arguments).await,
        Command::Login(arguments) => login::run(arguments).await,
        Command::Logout(arguments) => logout::run(&arguments),
        Command::System(arguments) => system::run(arguments).await,
        Command::Machine(arguments) => machine::run(arguments).await,
        Command::Info(arguments) => info::run(arguments).await,
        Command::Version(arguments) => version::run(arguments).await,
        Command::DockerEnv(arguments) => docker_env::run(arguments).await,
        Command::Certificates(arguments) => certificates::run(arguments),
        Command::Context(arguments) => context::run(arguments).await,
        Command::Completion(arguments) => completion::run(&arguments),
    }
}

/// Does the same to each of several containers or images: goes on after a
/// failure, reports each, and fails in the end if one did.
async fn for_each<F: Future<Output = Result<(), Failure>>>(
    names: Vec<String>,
    mut action: impl FnMut(String) -> F,
) -> Outcome {
    let mut code = 0;
    for name in names {
        if let Err(failure) = action(name).await {
            match failure.message {
                Some(message) => output::complain(&message),
                // Nobody reads the output any more.
                None => return Err(failure),
            }
            code = FAILED;
        }
    }
    Ok(code)
}
