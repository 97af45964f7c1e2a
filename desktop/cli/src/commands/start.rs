//! `wherry start`

use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{AttachStream, InspectContainerRequest, StartContainerRequest};

use super::session::{Session, check_terminal};
use crate::connection::Connection;
use crate::failure::{ENGINE, Failure, Outcome};
use crate::options::Checkpoints;
use crate::output;
use crate::terminal::{DetachKeys, Target};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry start web\n  wherry start -ai job      start it and sit at its input and output"
)]
pub(crate) struct Arguments {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,

    /// Sit at the container's output until it ends
    #[arg(short, long)]
    attach: bool,

    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,

    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,

    /// The keys that leave a terminal and let the container run on
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,

    #[command(flatten)]
    _checkpoints: Checkpoints,
}

impl Arguments {
    /// Returns whether the exit code is the process's.
    pub(crate) fn attaches(&self) -> bool {
        self.attach || self.interactive
    }
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    if !arguments.attaches() {
        let connection = Connection::to_machine().await?;
        return super::for_each(arguments.containers, |name| {
            let mut containers = connection.containers();
            async move {
                let request = StartContainerRequest {
                    container: name.clone(),
                    bound_ports: Vec::new(),
                };
                containers.start(request).await?;
                output::print_line(&name)
            }
        })
        .await;
    }
    let [name] = &arguments.containers[..] else {
        return Err(Failure::new(
            "start -a and -i take one container, because there is one terminal",
        )
        .with_code(ENGINE));
    };
    let connection = Connection::to_machine().await?;
    let request = InspectContainerRequest {
        container: name.clone(),
    };
    let container = connection.containers().inspect(request).await?.into_inner();
    let spec = container.spec.unwrap_or_default();
    let interactive = arguments.interactive && spec.open_stdin;
    check_terminal(interactive, spec.terminal)?;
    let session = Session {
        target: Target {
            container: container.id.clone(),
            exec: String::new(),
        },
        interactive,
        terminal: spec.terminal,
        signals: arguments.sig_proxy,
        owned: false,
        detach_keys: arguments.detach_keys,
    };
    let watch = session.watch(&connection)?;
    let stream = connection
        .open(Purpose::Attach(AttachStream {
            container: container.id.clone(),
            stdin: interactive,
            stdout: true,
            stderr: true,
            logs: false,
        }))
        .await?;
    let request = StartContainerRequest {
        container: container.id,
        bound_ports: Vec::new(),
    };
    connection.containers().start(request).await?;
    session.sit(&connection, stream, watch).await
}
