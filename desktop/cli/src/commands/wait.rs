//! `wherry wait`

use wherry_proto::v1::WaitContainerRequest;
use wherry_proto::v1::wait_container_request::Condition;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    super::for_each(arguments.containers, |name| {
        let mut containers = connection.containers();
        async move {
            let request = WaitContainerRequest {
                container: name,
                condition: Condition::NotRunning.into(),
            };
            let ended = containers.wait(request).await?.into_inner();
            output::print_line(&ended.exit_code.to_string())
        }
    })
    .await
}
