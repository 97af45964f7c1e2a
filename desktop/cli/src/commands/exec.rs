//! `wherry exec`

use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{CreateExecRequest, ExecStream};

use super::session::{Session, check_terminal};
use crate::connection::Connection;
use crate::failure::{ENGINE, Failure, Outcome};
use crate::options::EnvironmentOptions;
use crate::terminal::{self, DetachKeys, Target};

#[derive(clap::Args, Debug)]
#[command(
    override_usage = "wherry exec [OPTIONS] CONTAINER COMMAND [ARGUMENT]...",
    after_help = "Examples:\n  wherry exec web ls -l /etc\n  wherry exec -it web sh\n  wherry exec -i db psql < dump.sql\n\n\
                  Exit codes: the process's own; 125, 126 and 127 as for `wherry run`."
)]
pub(crate) struct Arguments {
    /// The container, then the command to run in it with all its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    command: Vec<String>,

    /// Run it in the background
    #[arg(short, long)]
    detach: bool,

    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,

    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,

    #[command(flatten)]
    environment: EnvironmentOptions,

    /// Run as this user: a name or number, and perhaps a group: USER[:GROUP]
    #[arg(short, long)]
    user: Option<String>,

    /// The folder that the command runs in
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,

    /// Give the process every capability
    #[arg(long)]
    privileged: bool,

    /// The keys that leave a terminal and let the process run on
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let (container, cmd) = match arguments.command.split_first() {
        Some((container, cmd)) if !cmd.is_empty() => (container, cmd),
        _ => {
            return Err(Failure::new(
                "exec needs a container and a command; see `wherry exec --help`",
            )
            .with_code(ENGINE));
        }
    };
    if !arguments.detach {
        check_terminal(arguments.interactive, arguments.tty)?;
    }
    let (rows, columns) = if arguments.tty {
        terminal::size()
    } else {
        (0, 0)
    };
    let request = CreateExecRequest {
        container: container.clone(),
        cmd: cmd.to_vec(),
        env: arguments.environment.resolve()?,
        working_dir: arguments.workdir.clone().unwrap_or_default(),
        user: arguments.user.clone().unwrap_or_default(),
        terminal: arguments.tty,
        open_stdin: arguments.interactive && !arguments.detach,
        privileged: arguments.privileged,
        terminal_rows: rows,
        terminal_columns: columns,
        ..CreateExecRequest::default()
    };
    let connection = Connection::to_machine().await?;
    let exec = connection
        .containers()
        .create_exec(request)
        .await?
        .into_inner()
        .exec;
    let stream = connection
        .open(Purpose::Exec(ExecStream {
            exec: exec.clone(),
            detach: arguments.detach,
        }))
        .await?;
    if arguments.detach {
        return Ok(0);
    }
    let session = Session {
        target: Target {
            container: container.clone(),
            exec,
        },
        interactive: arguments.interactive,
        terminal: arguments.tty,
        // There is no call that signals an exec.
        signals: false,
        owned: false,
        detach_keys: arguments.detach_keys,
    };
    let watch = session.watch(&connection)?;
    session.sit(&connection, stream, watch).await
}
