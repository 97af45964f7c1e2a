//! `wherry pause`

use wherry_proto::v1::PauseContainerRequest;

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
            let request = PauseContainerRequest {
                container: name.clone(),
            };
            containers.pause(request).await?;
            output::print_line(&name)
        }
    })
    .await
}
