//! `wherry restart`

use wherry_proto::v1::RestartContainerRequest;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::parse_patience;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  wherry restart web db\n  wherry restart -t 1 job")]
pub(crate) struct Arguments {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,

    /// The signal that asks it to stop; by default the container's own
    #[arg(short, long)]
    signal: Option<String>,

    /// Seconds until a container that does not stop is killed; -1 is never
    #[arg(short = 't', long, visible_alias = "time", value_name = "SECONDS", value_parser = parse_patience, allow_hyphen_values = true)]
    timeout: Option<u32>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let timeout_seconds = arguments.timeout;
    let signal = arguments.signal.unwrap_or_default();
    super::for_each(arguments.containers, |name| {
        let mut containers = connection.containers();
        let signal = signal.clone();
        async move {
            let request = RestartContainerRequest {
                container: name.clone(),
                timeout_seconds,
                signal,
                bound_ports: Vec::new(),
            };
            containers.restart(request).await?;
            output::print_line(&name)
        }
    })
    .await
}
