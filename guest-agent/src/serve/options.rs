//! The command line of `serve`.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where the agent listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Listen {
    /// The vsock ports of the contract.
    Vsock,
    /// Two sockets in this directory.
    Unix(PathBuf),
}

/// What `serve` is told on its command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// The directory of everything durable.
    pub(super) root: PathBuf,
    /// The directory of what ends with the machine.
    pub(super) run: PathBuf,
    /// Where to listen.
    pub(super) listen: Listen,
    /// Whether containers get networks of the agent's.
    pub(super) network: bool,
    /// Whether PID 1 is our `init`, which powers off on SIGTERM.
    pub(super) init: bool,
    /// The descriptor of the engine's socket, which `init` listens on.
    pub(super) engine_socket: Option<i32>,
}

/// A command line that is not understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}\nusage: wherry-agent serve --root DIR --run DIR --listen vsock|unix:DIR [--network none] [--init] [--engine-socket DESCRIPTOR]"
)]
pub(super) struct UsageError(String);

impl Options {
    /// Reads the arguments after `serve`.
    ///
    /// # Errors
    ///
    /// [`UsageError`] for anything unknown or missing.
    pub(super) fn parse(arguments: &[OsString]) -> Result<Self, UsageError> {
        let (mut root, mut run, mut listen) = (None, None, None);
        let (mut network, mut init, mut engine_socket) = (true, false, None);
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let name = name.to_string_lossy();
            if name == "--init" {
                init = true;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| UsageError(format!("{name} needs a value, or is unknown")))?;
            match (name.as_ref(), value.to_str()) {
                ("--root", _) => root = Some(PathBuf::from(value)),
                ("--run", _) => run = Some(PathBuf::from(value)),
                ("--listen", Some("vsock")) => listen = Some(Listen::Vsock),
                ("--listen", Some(value)) if value.starts_with("unix:/") => {
                    listen = Some(Listen::Unix(PathBuf::from(&value["unix:".len()..])));
                }
                ("--network", Some("none")) => network = false,
                ("--engine-socket", Some(number)) if number.parse::<u16>().is_ok() => {
                    engine_socket = number.parse().ok();
                }
                (name, _) => {
                    return Err(UsageError(format!(
                        "{name} {}: not understood",
                        value.display()
                    )));
                }
            }
        }
        let missing = |name: &str| UsageError(format!("{name} is missing"));
        Ok(Self {
            root: root.ok_or_else(|| missing("--root"))?,
            run: run.ok_or_else(|| missing("--run"))?,
            listen: listen.ok_or_else(|| missing("--listen"))?,
            network,
            init,
            engine_socket,
        })
    }
}
