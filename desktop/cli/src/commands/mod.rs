//! The commands, a file each: its options, its help and what it does.

pub(crate) mod attach;
pub(crate) mod completion;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod machine;
pub(crate) mod ps;
pub(crate) mod remove;
pub(crate) mod remove_image;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod version;
pub(crate) mod volume;
pub(crate) mod wait;

mod archive;
mod confirm;
mod session;

use crate::cli::Command;
use crate::failure::{FAILED, Failure, Outcome};
use crate::output;

/// Runs a command.
pub(crate) async fn run(command: Command) -> Outcome {
    match command {
        Command::Run(arguments) => run::run(arguments).await,
        Command::Create(arguments) => create::run(arguments).await,
        Command::Start(arguments) => start::run(arguments).await,
        Command::Ps(arguments) => ps::run(arguments).await,
        Command::Exec(arguments) => exec::run(arguments).await,
        Command::Logs(arguments) => logs::run(arguments).await,
        Command::Attach(arguments) => attach::run(arguments).await,
        Command::Wait(arguments) => wait::run(arguments).await,
        Command::Stop(arguments) => stop::run(arguments).await,
        Command::Kill(arguments) => kill::run(arguments).await,
        Command::Rm(arguments) => remove::run(arguments).await,
        Command::Inspect(arguments) => inspect::run(arguments).await,
        Command::Images(arguments) => images::run(arguments).await,
        Command::Load(arguments) => load::run(arguments).await,
        Command::Import(arguments) => import::run(arguments).await,
        Command::Rmi(arguments) => remove_image::run(arguments).await,
        Command::Volume(arguments) => volume::run(arguments).await,
        Command::Machine(arguments) => machine::run(arguments).await,
        Command::Info(arguments) => info::run(arguments).await,
        Command::Version(arguments) => version::run(arguments).await,
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
