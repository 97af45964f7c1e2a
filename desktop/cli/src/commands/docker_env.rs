//! `wherry docker-env`

use std::net::{IpAddr, SocketAddr};

use wherry_client::certificates::Files;
use wherry_client::{Home, Settings, docker};

use crate::failure::{Failure, Outcome};
use crate::output;

/// What Docker's clients read, in the order in which it is set.
const VARIABLES: [&str; 3] = ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"];

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  eval \"$(wherry docker-env)\"                             bash, zsh and their kin\n  wherry docker-env --shell fish | source\n  wherry docker-env --shell powershell | Invoke-Expression\n  eval \"$(wherry docker-env --tcp)\"                       over TCP, where config.toml has it\n  eval \"$(wherry docker-env --unset)\"                     back to Docker's own\n\nThe engine starts with the first command that needs it: `wherry machine start` starts it now."
)]
pub(crate) struct Arguments {
    /// The shell; without it, that of the environment
    #[arg(long, value_enum)]
    shell: Option<Shell>,

    /// Print what takes the setting back
    #[arg(short, long)]
    unset: bool,

    /// Reach the engine over TCP with TLS, as [api] in config.toml says
    #[arg(long, conflicts_with = "unset")]
    tcp: bool,
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

    fn set(self, name: &str, value: &str) -> String {
        match self {
            Self::Sh => format!("export {name}='{}'\n", value.replace('\'', "'\\''")),
            Self::Fish => format!("set -gx {name} '{}'\n", value.replace('\'', "\\'")),
            Self::Powershell => format!("$Env:{name} = '{}'\n", value.replace('\'', "''")),
            Self::Cmd => format!("SET {name}={value}\n"),
        }
    }

    fn unset(self, name: &str) -> String {
        match self {
            Self::Sh => format!("unset {name}\n"),
            Self::Fish => format!("set -e {name}\n"),
            // Quiet where it is not set.
            Self::Powershell => format!("$Env:{name} = $null\n"),
            Self::Cmd => format!("SET {name}=\n"),
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let shell = arguments.shell.unwrap_or_else(Shell::of_environment);
    if arguments.unset {
        output::print(&VARIABLES.map(|name| shell.unset(name)).concat())?;
        return Ok(0);
    }
    let home = Home::from_environment()?;
    let text = if arguments.tcp {
        over_tcp(shell, &home)?
    } else {
        // What a setting of --tcp left would hold for the socket too.
        let [host, verify, path] = VARIABLES;
        [
            shell.set(host, &docker::docker_host(&home)),
            shell.unset(verify),
            shell.unset(path),
        ]
        .concat()
    };
    // The socket is there once the engine runs; the machine starts when it is needed.
    wherry_client::engine(&home).await?;
    output::print(&text)?;
    Ok(0)
}

fn over_tcp(shell: Shell, home: &Home) -> Result<String, Failure> {
    let settings = Settings::load(home).map_err(|error| Failure::new(error.to_string()))?;
    let Some(listener) = settings.api.listener else {
        return Err(Failure::new(format!(
            "the Engine API is not served over TCP: set listen in [api] of {}; `wherry certificates create` makes what it needs",
            home.config().display()
        )));
    };
    // Certificates of the user's own have their client's files elsewhere.
    let client = Files::of(&home.certificates()).client;
    let [host, verify, path] = VARIABLES;
    let mut text = shell.set(host, &format!("tcp://{}", reached(listener.address)));
    text += &shell.set(verify, "1");
    if client.join("key.pem").exists() {
        text += &shell.set(path, &client.display().to_string());
    }
    Ok(text)
}

/// Returns where programs on this computer reach what listens at an address.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_gets_its_own_words() {
        let host = "unix:///home/o'brien/docker.sock";
        assert_eq!(
            Shell::Sh.set("DOCKER_HOST", host),
            "export DOCKER_HOST='unix:///home/o'\\''brien/docker.sock'\n"
        );
        assert_eq!(
            Shell::Powershell.set("DOCKER_HOST", host),
            "$Env:DOCKER_HOST = 'unix:///home/o''brien/docker.sock'\n"
        );
        assert_eq!(Shell::Fish.unset("DOCKER_HOST"), "set -e DOCKER_HOST\n");
    }

    #[test]
    fn every_address_is_reached_by_the_loopback() {
        for (listens, reaches) in [
            ("0.0.0.0:2376", "127.0.0.1:2376"),
            ("[::]:2376", "[::1]:2376"),
            ("10.1.2.3:1", "10.1.2.3:1"),
        ] {
            assert_eq!(reached(listens.parse().unwrap()).to_string(), reaches);
        }
    }
}
