//! `wherry context`

use clap::Subcommand;
use wherry_client::{Home, docker};

use crate::failure::{Failure, Outcome};
use crate::output;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a context for Docker's clients that stands for this engine
    #[command(
        after_help = "Examples:\n  wherry context install\n  docker --context wherry ps\n  docker context use wherry        for every command from now on"
    )]
    Install {
        /// What to call it
        #[arg(default_value = "wherry")]
        name: String,
    },
    /// Remove the context again
    Uninstall {
        /// What it is called
        #[arg(default_value = "wherry")]
        name: String,
    },
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Install { name } => {
            let home = Home::from_environment()?;
            let failed = |error: docker::ContextError| Failure::new(error.to_string());
            docker::install_context(&home, &name).map_err(failed)?;
            wherry_client::engine(&home).await?;
            output::print_line(&format!(
                "Docker's clients know this engine as {name}: docker context use {name}"
            ))?;
        }
        Command::Uninstall { name } => {
            let failed = |error: docker::ContextError| Failure::new(error.to_string());
            if !docker::remove_context(&name).map_err(failed)? {
                return Err(Failure::new(format!("there is no context {name}")));
            }
            output::print_line(&name)?;
        }
    }
    Ok(0)
}
