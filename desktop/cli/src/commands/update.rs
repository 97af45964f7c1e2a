//! `wherry update`

use wherry_proto::v1::UpdateContainerRequest;

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::{RestartPolicy, parse_restart};
use crate::output;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  wherry update --restart unless-stopped web db")]
pub(crate) struct Arguments {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,

    /// When it starts again: no, always, unless-stopped or on-failure[:NUMBER]
    #[arg(long, value_name = "POLICY", value_parser = parse_restart)]
    restart: Option<RestartPolicy>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let Some(restart) = arguments.restart else {
        return Err(Failure::new(
            "nothing to change: give at least one option, such as --restart always",
        ));
    };
    let connection = Connection::to_machine().await?;
    super::for_each(arguments.containers, |name| {
        let mut containers = connection.containers();
        let request = UpdateContainerRequest {
            container: name.clone(),
            restart_policy: Some(restart.name.clone()),
            restart_retries: restart.retries,
        };
        async move {
            let updated = containers.update(request).await?.into_inner();
            for warning in &updated.warnings {
                output::complain(&format!("warning: {warning}"));
            }
            output::print_line(&name)
        }
    })
    .await
}
