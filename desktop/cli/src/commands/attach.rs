//! `wherry attach`

use wherry_proto::v1::container::Status;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{AttachStream, InspectContainerRequest};

use super::session::{Session, check_terminal};
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::terminal::{DetachKeys, Target};

#[derive(clap::Args, Debug)]
#[command(after_help = "Ctrl-P Ctrl-Q leaves a container that has a terminal, and lets it run on.")]
pub(crate) struct Arguments {
    /// The container, by name or id
    container: String,

    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,

    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,

    /// The keys that leave a terminal and let the container run on
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let request = InspectContainerRequest {
        container: arguments.container.clone(),
    };
    let container = connection.containers().inspect(request).await?.into_inner();
    if container.status() != Status::Running {
        return Err(Failure::new(format!(
            "container {0} is not running: start it with `wherry start -a {0}`",
            arguments.container
        )));
    }
    let spec = container.spec.unwrap_or_default();
    let interactive = spec.open_stdin && !arguments.no_stdin;
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
            container: container.id,
            stdin: interactive,
            stdout: true,
            stderr: true,
            logs: false,
        }))
        .await?;
    session.sit(&connection, stream, watch).await
}
