//! `wherry restart`

use wherry_proto::v1::RestartContainerRequest;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;

use super::stop::Stopping;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  wherry restart web db\n  wherry restart -t 1 job")]
pub(crate) struct Arguments {
    #[command(flatten)]
    stopping: Stopping,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let how = arguments.stopping;
    super::for_each(how.containers, |name| {
        let mut containers = connection.containers();
        let signal = how.signal.clone();
        async move {
            let request = RestartContainerRequest {
                container: name.clone(),
                timeout_seconds: how.timeout,
                signal,
                bound_ports: Vec::new(),
            };
            containers.restart(request).await?;
            output::print_line(&name)
        }
    })
    .await
}
