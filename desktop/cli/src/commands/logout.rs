//! `wherry logout`

use wherry_client::registry::{self, Credentials};

use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  wherry logout\n  wherry logout ghcr.io")]
pub(crate) struct Arguments {
    /// The registry; docker.io where there is none
    server: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let registry = registry::of_server(arguments.server.as_deref().unwrap_or_default());
    if Credentials::of_user()?.erase(registry)? {
        output::print_line(&format!("Removing login credentials for {registry}"))?;
    } else {
        output::print_line(&format!("Not logged in to {registry}"))?;
    }
    Ok(0)
}
