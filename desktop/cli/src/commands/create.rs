//! `wherry create`

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::ContainerOptions;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    disable_help_flag = true,
    override_usage = "wherry create [OPTIONS] IMAGE [COMMAND] [ARGUMENT]...",
    after_help = "Examples:\n  wherry create --name job app ./work\n  wherry start -a job"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    container: ContainerOptions,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let options = &arguments.container;
    let request = super::run::prepare(options, false)?;
    let connection = Connection::to_machine().await?;
    let id = super::run::create(&connection, options, request).await?;
    output::print_line(&id)?;
    Ok(0)
}
