//! `wherryd`: the engine's daemon, and with `machine` as its first argument
//! the process that owns the VM.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use wherry_client::Home;

/// Wherry's engine. `wherry` starts it when it is needed; it keeps all its
/// state below WHERRY_HOME.
#[derive(Parser)]
#[command(name = "wherryd", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Process>,
}

#[derive(Subcommand)]
enum Process {
    /// Own the VM. wherryd starts this process, which outlives it.
    Machine,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("WHERRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wherryd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let home = Home::from_environment()?;
    home.prepare()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match arguments.command {
        None => runtime.block_on(wherry_engine::daemon::run(home))?,
        Some(Process::Machine) => runtime.block_on(wherry_engine::machine::run(home))?,
    }
    Ok(())
}
