//! The terminal's raw mode.

use std::io::{self, IsTerminal};
use std::sync::Once;

use crossterm::terminal;

use crate::failure::Failure;

/// Raw mode of the terminal at standard input, until it is dropped.
pub(crate) struct RawMode(());

impl RawMode {
    /// Turns raw mode on.
    pub(crate) fn enter() -> Result<Self, Failure> {
        restore_on_panic();
        terminal::enable_raw_mode().map_err(|error| {
            Failure::new(format!("cannot take the terminal into raw mode: {error}"))
        })?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Returns whether standard input is a terminal.
pub(crate) fn input_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Tells whether standard output is a terminal.
pub(crate) fn output_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Returns the terminal's rows and columns; zeros where there is no terminal.
pub(crate) fn size() -> (u32, u32) {
    let (columns, rows) = terminal::size().unwrap_or((0, 0));
    (u32::from(rows), u32::from(columns))
}

/// Leaves raw mode before a panic is reported, so that its words can be read.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}

fn restore() {
    // Nothing is left to do where the terminal is gone.
    let _ = terminal::disable_raw_mode();
}
