//! `wherry update`

use wherry_proto::v1::UpdateContainerRequest;

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::{LimitOptions, RealtimeOptions, RestartPolicy, parse_restart};
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry update --restart unless-stopped web db\n  wherry update -m 512m --cpus 1.5 web"
)]
pub(crate) struct Arguments {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,

    /// When it starts again: no, always, unless-stopped or on-failure[:NUMBER]
    #[arg(long, value_name = "POLICY", value_parser = parse_restart)]
    restart: Option<RestartPolicy>,

    #[command(flatten)]
    limits: LimitOptions,

    #[command(flatten)]
    realtime: RealtimeOptions,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let resources = arguments.limits.update();
    if arguments.restart.is_none() && resources.is_none() {
        return Err(Failure::new(
            "you must provide one or more flags when using this command, such as --restart always",
        ));
    }
    let (restart_policy, restart_retries) = match arguments.restart {
        Some(restart) => (Some(restart.name), restart.retries),
        None => (None, 0),
    };
    let connection = Connection::to_machine().await?;
    super::for_each(arguments.containers, |name| {
        let mut containers = connection.containers();
        let request = UpdateContainerRequest {
            container: name.clone(),
            restart_policy: restart_policy.clone(),
            restart_retries,
            resources: resources.clone(),
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
