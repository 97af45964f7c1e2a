//! Fuzzing: libFuzzer's loop around what reads strangers' bytes.
//!
//! The targets are laid out for `cargo-fuzz`, which wants a nightly compiler for
//! its sanitizers. Coverage alone the stable compiler can do, and the targets are
//! safe Rust, so nothing but a C++ compiler for libFuzzer is needed here.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::build::{self, target_folder, workspace};
use crate::setup;

/// Packages of targets, and the targets of each.
const TARGETS: &[(&str, &[&str])] = &[
    ("guest-agent/fuzz", &["reference", "manifest", "layer"]),
    ("desktop/engine/fuzz", &["request"]),
    ("desktop/vsock/fuzz", &["device"]),
];

/// The instrumentation that libFuzzer goes by, as `cargo-fuzz` passes it.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only this target
    target: Option<String>,
    /// How long each runs, seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    time: u32,
}

impl Options {
    /// All targets, each for so many seconds.
    pub(crate) fn all(time: u32) -> Self {
        Self { target: None, time }
    }
}

/// Runs targets, each for its time, from the seeds in its package's `corpus` and
/// from what earlier runs found.
///
/// # Errors
///
/// Where a target fails; the input that made it fail lies in `artifacts` in
/// cargo's target folder.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::install(setup::FUZZ)?;
    let wanted = |target: &&&str| {
        options
            .target
            .as_deref()
            .is_none_or(|name| name == **target)
    };
    let mut ran = false;
    for (package, targets) in TARGETS {
        for target in targets.iter().filter(wanted) {
            let program = build_target(package, target)?;
            run_target(package, target, program, options.time)?;
            ran = true;
        }
    }
    if !ran {
        let all: Vec<_> = TARGETS.iter().flat_map(|(_, targets)| *targets).collect();
        bail!("there is no such target: there are {all:?}");
    }
    Ok(())
}

fn folder() -> PathBuf {
    target_folder().join("fuzz")
}

fn build_target(package: &str, target: &str) -> anyhow::Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let manifest = workspace().join(package).join("Cargo.toml");
    let mut command = build::cargo_command(&["build", "--release", "--locked", "--bin", target]);
    command
        // With a target named, build scripts are not instrumented.
        .args(["--target", &triple, "--manifest-path"])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", folder())
        .env("RUSTFLAGS", FLAGS);
    build::run(command)?;
    Ok(folder().join(triple).join("release").join(target))
}

fn run_target(package: &str, target: &str, program: PathBuf, seconds: u32) -> anyhow::Result<()> {
    let found = folder().join("corpus").join(target);
    let artifacts = folder().join("artifacts");
    for made in [&found, &artifacts] {
        std::fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    eprintln!("fuzzing {target} for {seconds} s");
    let log = folder().join(format!("{target}.log"));
    let output = std::fs::File::create(&log)?;
    let mut command = Command::new(program);
    command
        // Where the target writes things of its own.
        .current_dir(&artifacts)
        // What it finds goes to the first folder; the second is read.
        .arg(&found)
        .arg(format!("-max_total_time={seconds}"))
        .args([
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-max_len=65536",
            "-print_final_stats=1",
        ])
        .arg(format!(
            "-artifact_prefix={}/{target}-",
            artifacts.display()
        ))
        .stdout(output.try_clone()?)
        .stderr(output);
    let seeds = workspace().join(package).join("corpus").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    let status = command
        .status()
        .with_context(|| format!("cannot run {target}"))?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let lines: Vec<_> = text.lines().collect();
    if !status.success() {
        let end = lines[lines.len().saturating_sub(40)..].join("\n");
        bail!(
            "the fuzz target {target} failed; the input lies in {}:\n{end}",
            artifacts.display()
        );
    }
    let executed = lines
        .iter()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let executed = executed.map_or("?", str::trim);
    eprintln!("{target}: {executed} inputs, nothing found");
    Ok(())
}
