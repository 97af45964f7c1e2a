//! `wherry certificates`

use clap::Subcommand;
use wherry_client::certificates::{self, DAYS};
use wherry_client::{Home, Settings};

use crate::failure::{Failure, Outcome};
use crate::output;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make an authority, the engine's certificate and a client's, in the engine's folder
    #[command(
        after_help = "Examples:\n  wherry certificates create                  for clients on this computer\n  wherry certificates create --name box.lan   for those that know it as box.lan too\n\nWhoever has the client's key controls the engine. The authority's key is thrown away:\na further client gets the same files, and --force makes all of them anew."
    )]
    Create {
        /// A further host name or IP address that clients reach this computer by
        #[arg(long, value_name = "HOST")]
        name: Vec<String>,
        /// Replace those that are there
        #[arg(short, long)]
        force: bool,
    },
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    let Command::Create { name, force } = arguments.command;
    let home = Home::from_environment()?;
    home.prepare()?;
    let folder = home.certificates();
    let files = certificates::create(&folder, &name, force)
        .map_err(|error| Failure::new(error.to_string()))?;
    output::print_line(&format!(
        "Made certificates in {}, good for {DAYS} days.",
        folder.display()
    ))?;
    let is_set = Settings::load(&home).is_ok_and(|settings| settings.api.listener.is_some());
    if !is_set {
        // A literal string of TOML takes a path as it is (backslashes of Windows).
        output::print(&format!(
            "\nServe the Engine API with them: add this to {}\n\n[api]\nlisten = \"127.0.0.1:2376\"\nca = '{}'\ncert = '{}'\nkey = '{}'\n",
            home.config().display(),
            files.ca.display(),
            files.certificate.display(),
            files.key.display(),
        ))?;
    }
    output::print_line(
        "\nIt counts from the next `wherry machine restart`. Then, for clients on this computer:\n\n  eval \"$(wherry docker-env --tcp)\"",
    )?;
    output::print_line(&format!(
        "\nClients elsewhere need a copy of {} as DOCKER_CERT_PATH.",
        files.client.display()
    ))?;
    Ok(0)
}
