//! `wherry diff`

use wherry_proto::v1::DiffRequest;
use wherry_proto::v1::file_change::Kind;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry diff web\n\nA is a file that was added, C one that was changed, D one that was deleted."
)]
pub(crate) struct Arguments {
    /// The container, by name or id
    container: String,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let request = DiffRequest {
        container: arguments.container,
    };
    let diff = connection.containers().diff(request).await?.into_inner();
    for change in &diff.changes {
        let letter = match change.kind() {
            Kind::Added => 'A',
            Kind::Deleted => 'D',
            Kind::Modified | Kind::Unspecified => 'C',
        };
        output::print_line(&format!("{letter} {}", change.path))?;
    }
    Ok(0)
}
