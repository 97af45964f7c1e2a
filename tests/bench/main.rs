//! The benchmarks: each figure beside its comparator, measured in one run on
//! one machine. `cargo xtask bench` builds what they need and runs them.

mod api;
mod boot;
mod breakdown;
mod commands;
mod control;
mod dockerd;
mod figure;
mod forward;
mod images;
mod memory;
mod traffic;
mod vsock;

use std::path::PathBuf;

use anyhow::ensure;
use clap::Parser;
use figure::Figure;
use wherry_tests::Engine;

/// Measures Wherry, each figure beside its comparator.
#[derive(Parser)]
struct Arguments {
    /// Also write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure only the group or figure of this name; `breakdown` shows where a
    /// `run` spends its time, and is measured only so.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

type Group = fn(&Engine) -> anyhow::Result<Vec<Figure>>;

const GROUPS: &[(&str, Group)] = &[
    ("boot", boot::measure),
    ("memory", memory::measure),
    ("commands", commands::measure),
    ("vsock", vsock::measure),
    ("forward", forward::measure),
    ("traffic", traffic::measure),
    ("images", images::measure),
    ("api", api::measure),
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.only.as_deref() == Some("breakdown") {
        return breakdown::print();
    }
    let wanted = |group: &str| match arguments.only.as_deref() {
        None => true,
        Some(name) => name == group || figure::NAMES.contains(&(group, name)),
    };
    let groups: Vec<_> = GROUPS.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(
        !groups.is_empty(),
        "nothing is measured under that name; there are: {}",
        figure::NAMES
            .iter()
            .map(|(_, name)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    );
    let mut engine = Engine::new()?;
    // A control socket of QEMU, through which its own port forwarding is set up.
    let control = engine.home().join("control.sock");
    engine.set(
        "WHERRY_QEMU_ARGUMENTS",
        &format!("-qmp unix:{},server=on,wait=off", control.display()),
    );
    engine.succeed(&["machine", "start"])?;
    engine.load_image()?;
    let mut figures = Vec::new();
    for (name, measure) in groups {
        eprintln!("measuring {name}");
        match measure(&engine) {
            Ok(measured) => figures.extend(measured),
            Err(error) => eprintln!("{name} could not be measured: {error:#}"),
        }
    }
    if let Some(only) = &arguments.only
        && figures.iter().any(|figure| figure.name == *only)
    {
        figures.retain(|figure| figure.name == *only);
    }
    print!("{}", figure::table(&figures));
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&figures)?)?;
    }
    Ok(())
}
