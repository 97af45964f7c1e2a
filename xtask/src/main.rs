//! Wherry's development commands: `cargo xtask --help`.

mod bench;
mod build;
mod check_targets;
mod clients;
mod demo;
mod fuzz;
mod guest;
mod packages;
mod setup;
mod test;

use clap::{Parser, Subcommand};

/// Sets up, builds, shows, tests and measures Wherry.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything and run a web server in a container, step by step.
    Demo(demo::Options),
    /// Run the lints and all tests, those that boot the guest too.
    Test(test::Options),
    /// Feed random input to what reads strangers' bytes.
    Fuzz(fuzz::Options),
    /// Measure, each figure beside its comparator.
    Bench(bench::Options),
    /// Drive the engine with Docker's own command and other clients of its API.
    Clients(clients::Options),
    /// Build wherry, wherryd and the guest image into target/release.
    Build,
    /// Build the guest image alone into target/release/guest.
    Guest,
    /// Check that the host crates compile for macOS and Windows.
    CheckTargets,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Clients(options) => clients::run(&options),
        Command::Build => build::all(),
        Command::Guest => {
            setup::install(setup::BUILD)?;
            guest::build()
        }
        Command::CheckTargets => check_targets::run_all(),
    }
}
