//! `wherry kill`

use wherry_proto::v1::KillContainerRequest;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  wherry kill job\n  wherry kill -s HUP web")]
pub(crate) struct Arguments {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,

    /// The signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let signal = arguments.signal;
    super::for_each(arguments.containers, |name| {
        let mut containers = connection.containers();
        let signal = signal.clone();
        async move {
            let request = KillContainerRequest {
                container: name.clone(),
                signal,
            };
            containers.kill(request).await?;
            output::print_line(&name)
        }
    })
    .await
}
