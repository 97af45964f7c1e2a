//! Lints and tests, from the quickest to the slowest.

use crate::build::{self, cargo, cargo_command, run as run_command};
use crate::{check_targets, clients, fuzz, setup};

/// How long each fuzz target runs, seconds.
const FUZZ_SECONDS: u32 = 10;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the tests that boot the guest.
    #[arg(long)]
    quick: bool,
    /// Run only the end-to-end tests whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Runs everything that must pass before a change lands.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::install(setup::BUILD)?;
    setup::install(setup::RUN)?;
    setup::install(setup::TEST)?;
    if let Some(name) = &options.only {
        build::all()?;
        return end_to_end(&[name]);
    }
    step("format");
    cargo(&["fmt", "--all", "--check"])?;
    step("lints");
    cargo(&["clippy", "--workspace", "--all-targets"])?;
    step("unit and integration tests");
    cargo(&["test", "--workspace", "--exclude", "wherry-tests"])?;
    if options.quick {
        return Ok(());
    }
    step("host crates on other systems");
    check_targets::run_all()?;
    step("release build and guest image");
    build::all()?;
    step("vsock torture");
    vsock_torture()?;
    step("fuzz targets");
    fuzz::run(&fuzz::Options::all(FUZZ_SECONDS))?;
    step("end-to-end tests");
    end_to_end(&[])
}

fn end_to_end(filter: &[&str]) -> anyhow::Result<()> {
    // The machine's own clients come first.
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(clients::commands()?);
    let mut command = cargo_command(&["test", "-p", "wherry-tests", "--", "--test-threads=1"]);
    command
        .args(filter)
        .env("PATH", path)
        .env("WHERRY_PROGRAMS", build::release_folder());
    run_command(command)
}

/// Sends what `WHERRY_TEST_MEBIBYTES` says, or a little, each way through a guest
/// of the kernel just built. The test boots it on x86 only.
fn vsock_torture() -> anyhow::Result<()> {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: the test's guest is an x86-64 one");
        return Ok(());
    }
    let mut command = cargo_command(&[
        "test",
        "--release",
        "-p",
        "wherry-vsock",
        "--test",
        "guest",
        "--",
        "--nocapture",
    ]);
    command.env(
        "WHERRY_TEST_KERNEL",
        build::release_folder().join("guest/kernel"),
    );
    run_command(command)
}

fn step(name: &str) {
    eprintln!("==> {name}");
}
