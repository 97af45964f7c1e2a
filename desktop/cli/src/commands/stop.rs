//! `wherry stop`

use wherry_proto::v1::StopContainerRequest;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  wherry stop web db\n  wherry stop -t 1 job")]
pub(crate) struct Arguments {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,

    /// Seconds until a container that does not stop is killed
    #[arg(short = 't', long, visible_alias = "time", value_name = "SECONDS")]
    timeout: Option<u32>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let timeout_seconds = arguments.timeout;
    super::for_each(arguments.containers, |name| {
        let mut containers = connection.containers();
        async move {
            let request = StopContainerRequest {
                container: name.clone(),
                timeout_seconds,
            };
            containers.stop(request).await?;
            output::print_line(&name)
        }
    })
    .await
}
