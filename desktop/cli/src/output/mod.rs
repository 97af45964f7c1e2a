//! What commands print: tables, templates, and the rows that Docker gives
//! containers and images in them.

mod container;
mod image;
mod listing;
mod network;
mod stats;
mod table;
mod template;
mod volume;

pub(crate) use container::row as container_row;
pub(crate) use image::{ellipsis, history_row, rows as image_rows};
pub(crate) use listing::{Listing, Row, print_listing};
pub(crate) use network::row as network_row;
pub(crate) use stats::row as stats_row;
pub(crate) use table::Table;
pub(crate) use template::Template;
pub(crate) use volume::row as volume_row;

use std::io::{self, Write};

use crate::failure::{Failure, PIPE_CLOSED};

/// Writes to standard output. Where its reader is gone, the failure is a quiet one.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to standard output, as [`print`].
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::reported(PIPE_CLOSED),
            _ => Failure::new(format!("cannot write to standard output: {error}")),
        })
}

/// Writes a line to standard output.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes JSON to standard output, for people and programs.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(format!("cannot write the answer as JSON: {error}")))?;
    print_line(&text)
}

/// Writes a line of this command's own to standard error.
pub(crate) fn complain(message: &str) {
    // Where standard error is closed, there is nobody to tell.
    let _ = writeln!(io::stderr(), "wherry: {message}");
}
