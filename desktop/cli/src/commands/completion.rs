//! `wherry completion`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry completion bash > ~/.local/share/bash-completion/completions/wherry\n  source <(wherry completion zsh)"
)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "wherry", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
