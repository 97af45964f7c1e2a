//! Asking before something is removed for good.

use std::io::{self, BufRead};

use crate::failure::Failure;
use crate::output;

/// Warns of what is about to happen and asks whether it shall, as Docker does:
/// only `y` or `yes` is a yes.
pub(super) fn confirm(warning: &str) -> Result<bool, Failure> {
    output::print(&format!(
        "WARNING! {warning}\nAre you sure you want to continue? [y/N] "
    ))?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
