//! `wherry commit`

use wherry_proto::v1::CommitRequest;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry commit web web:mine\n  wherry commit -c 'CMD [\"nginx\"]' -c 'ENV DEBUG=1' web web:debug\n\n\
                  What volumes and folders of the host hold is not in the image."
)]
pub(crate) struct Arguments {
    /// Who made the image
    #[arg(short, long, default_value = "")]
    author: String,

    /// Apply an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR, …
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// A remark for the image's history
    #[arg(short, long, default_value = "")]
    message: String,

    /// Hold the container's processes meanwhile
    #[arg(short, long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pause: bool,

    /// The container, by name or id
    container: String,

    /// The image's name
    #[arg(
        value_name = "REPOSITORY[:TAG]",
        default_value = "",
        hide_default_value = true
    )]
    name: String,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let request = CommitRequest {
        container: arguments.container,
        name: arguments.name,
        author: arguments.author,
        message: arguments.message,
        changes: arguments.change,
        no_pause: !arguments.pause,
        config: None,
    };
    let image = connection.containers().commit(request).await?.into_inner();
    output::print_line(&image.id)?;
    Ok(0)
}
