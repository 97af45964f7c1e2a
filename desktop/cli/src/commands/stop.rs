//! `wherry stop`

use wherry_proto::v1::StopContainerRequest;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::options::parse_patience;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  wherry stop web db\n  wherry stop -t 1 job")]
pub(crate) struct Arguments {
    #[command(flatten)]
    stopping: Stopping,
}

/// What is stopped, and how.
#[derive(clap::Args, Debug)]
pub(super) struct Stopping {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    pub(super) containers: Vec<String>,

    /// The signal that asks it to stop; by default the container's own
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(super) signal: String,

    /// Seconds until a container that does not stop is killed; -1 is never
    #[arg(short = 't', long, visible_alias = "time", value_name = "SECONDS", value_parser = parse_patience, allow_hyphen_values = true)]
    pub(super) timeout: Option<u32>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let how = arguments.stopping;
    super::for_each(how.containers, |name| {
        let mut containers = connection.containers();
        let signal = how.signal.clone();
        async move {
            let request = StopContainerRequest {
                container: name.clone(),
                timeout_seconds: how.timeout,
                signal,
            };
            containers.stop(request).await?;
            output::print_line(&name)
        }
    })
    .await
}
