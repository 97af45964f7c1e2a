//! The `wherry` command.

mod cli;
mod commands;
mod connection;
mod failure;
mod options;
mod output;
mod platform;
mod terminal;

use std::process::exit;

fn main() {
    exit(i32::from(run()));
}

/// Runs the command line. Returns the process's exit code; by then everything
/// that a guard holds, such as the terminal's raw mode, is released.
fn run() -> u8 {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("cannot start: {error}"));
            return failure::ENGINE;
        }
    };
    let default_code = cli.command.failure_code();
    let code = match runtime.block_on(commands::run(cli.command)) {
        Ok(code) => code,
        Err(failure) => {
            if let Some(message) = &failure.message {
                output::complain(message);
            }
            failure.code.unwrap_or(default_code)
        }
    };
    // A thread may sit in a read of standard input for ever: do not wait for it.
    runtime.shutdown_background();
    code
}
