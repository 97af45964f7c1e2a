//! `wherry docker-env`

use wherry_client::{Home, docker};

use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  eval \"$(wherry docker-env)\"                             bash, zsh and their kin\n  wherry docker-env --shell fish | source\n  wherry docker-env --shell powershell | Invoke-Expression\n  eval \"$(wherry docker-env --unset)\"                     back to Docker's own\n\nThe engine starts with the first command that needs it: `wherry machine start` starts it now."
)]
pub(crate) struct Arguments {
    /// The shell; without it, that of the environment
    #[arg(long, value_enum)]
    shell: Option<Shell>,

    /// Print what takes the setting back
    #[arg(short, long)]
    unset: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Shell {
    /// bash, zsh, dash and their kin
    Sh,
    Fish,
    Powershell,
    Cmd,
}

impl Shell {
    fn of_environment() -> Self {
        let shell = std::env::var("SHELL").unwrap_or_default();
        match shell.rsplit(['/', '\\']).next() {
            Some("fish") => Self::Fish,
            Some("") | None if cfg!(windows) => Self::Powershell,
            _ => Self::Sh,
        }
    }

    fn set(self, host: &str) -> String {
        match self {
            Self::Sh => format!("export DOCKER_HOST='{}'\n", host.replace('\'', "'\\''")),
            Self::Fish => format!("set -gx DOCKER_HOST '{}'\n", host.replace('\'', "\\'")),
            Self::Powershell => format!("$Env:DOCKER_HOST = '{}'\n", host.replace('\'', "''")),
            Self::Cmd => format!("SET DOCKER_HOST={host}\n"),
        }
    }

    fn unset(self) -> &'static str {
        match self {
            Self::Sh => "unset DOCKER_HOST\n",
            Self::Fish => "set -e DOCKER_HOST\n",
            Self::Powershell => "Remove-Item Env:\\DOCKER_HOST\n",
            Self::Cmd => "SET DOCKER_HOST=\n",
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let shell = arguments.shell.unwrap_or_else(Shell::of_environment);
    if arguments.unset {
        output::print(shell.unset())?;
        return Ok(0);
    }
    let home = Home::from_environment()?;
    // The socket is there once the engine runs; the machine starts when it is needed.
    wherry_client::engine(&home).await?;
    output::print(&shell.set(&docker::docker_host(&home)))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_gets_its_own_words() {
        let host = "unix:///home/o'brien/docker.sock";
        assert_eq!(
            Shell::Sh.set(host),
            "export DOCKER_HOST='unix:///home/o'\\''brien/docker.sock'\n"
        );
        assert_eq!(
            Shell::Powershell.set(host),
            "$Env:DOCKER_HOST = 'unix:///home/o''brien/docker.sock'\n"
        );
        assert_eq!(Shell::Fish.unset(), "set -e DOCKER_HOST\n");
    }
}
