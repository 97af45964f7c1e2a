//! `wherry top`

use wherry_proto::v1::TopRequest;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output::{self, Table};

#[derive(clap::Args, Debug)]
#[command(
    override_usage = "wherry top CONTAINER [PS ARGUMENTS]",
    after_help = "Examples:\n  wherry top web\n  wherry top web aux\n  wherry top web -o pid,comm,rss"
)]
pub(crate) struct Arguments {
    /// The container, by name or id; then perhaps -ef, aux or -o FIELD,FIELD
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_names = ["CONTAINER", "ARGUMENT"])]
    words: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let mut words = arguments.words.into_iter();
    let request = TopRequest {
        container: words.next().unwrap_or_default(),
        arguments: words.collect(),
    };
    let top = connection.containers().top(request).await?.into_inner();
    let mut table = Table::new(top.titles);
    for process in top.processes {
        table.add(process.fields);
    }
    output::print(&table.render())?;
    Ok(0)
}
