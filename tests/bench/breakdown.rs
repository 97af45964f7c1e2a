//! Where a `run --rm IMAGE true` spends its time: the host's clock around it,
//! and what the agent says of its steps in the console's log.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Context;
use wherry_tests::{Engine, IMAGE};

use crate::figure::{median, repeated};

const RUNS: usize = 20;

/// The agent's steps: what its log calls them, and what they are. Those that are
/// further in are parts of the one before.
const STEPS: [(&str, &str, &str); 13] = [
    (
        "created",
        "made_us",
        "create: record, directories, writable layer",
    ),
    ("started", "running_us", "start, all of it"),
    (
        "started",
        "prepared_us",
        "  until root, network and shim are there",
    ),
    ("prepared", "root_us", "    root (at the same time)"),
    ("prepared", "network_us", "    network (at the same time)"),
    ("prepared", "shim_us", "    shim (at the same time)"),
    (
        "started",
        "created_us",
        "  until libcontainer has made the container",
    ),
    ("ended", "ran_us", "the process, from its start to its end"),
    ("ended", "told_us", "until the agent knows of the end"),
    ("ended", "settled_us", "after the end, all of it"),
    (
        "cleaning up",
        "shim_us",
        "    cgroup and shim (at the same time)",
    ),
    (
        "cleaning up",
        "network_us",
        "    network (at the same time)",
    ),
    ("ended", "cleaned_us", "  until nothing of it runs"),
];

/// Measures, and prints a table.
pub(crate) fn print() -> anyhow::Result<()> {
    let guest = tempfile::tempdir()?;
    let mut engine = Engine::new()?;
    let installed = match std::env::var_os("WHERRY_GUEST") {
        Some(folder) => folder.into(),
        None => engine.programs().join("guest"),
    };
    talkative(&installed, guest.path())?;
    engine.set("WHERRY_GUEST", &guest.path().to_string_lossy());
    engine.succeed(&["machine", "start"])?;
    engine.load_image()?;
    let run = || engine.succeed(&["run", "--rm", IMAGE, "true"]).map(drop);
    for _ in 0..3 {
        run()?;
    }
    let log = engine.home().join("log/console.log");
    let before = std::fs::read(&log)?.len();
    let whole = repeated(RUNS, run)?;
    let ask = repeated(RUNS, || engine.succeed(&["ps", "-q"]).map(drop))?;
    let text = std::fs::read(&log)?;
    let steps = steps(&String::from_utf8_lossy(&text[before..]));

    println!("{:<52}{:>8}", "run --rm IMAGE true", "ms");
    println!(
        "{:<52}{:>8.1}",
        "the command, from its start to its end",
        whole * 1e3
    );
    println!(
        "{:<52}{:>8.1}",
        "`ps -q`: command, wherryd, vsock, one call",
        ask * 1e3
    );
    for (message, field, what) in STEPS {
        let times = steps.get(&(message.to_owned(), field.to_owned()));
        let times = times.with_context(|| format!("the log has no {field} of {message:?}"))?;
        println!("{what:<52}{:>8.1}", median(times.clone()) / 1e3);
    }
    Ok(())
}

/// Makes a guest image whose agent tells of its steps.
fn talkative(installed: &Path, folder: &Path) -> anyhow::Result<()> {
    for file in std::fs::read_dir(installed)? {
        let file = file?;
        if file.file_name() != "cmdline" {
            symlink(file.path(), folder.join(file.file_name()))?;
        }
    }
    let words = std::fs::read_to_string(installed.join("cmdline"))?;
    let words = format!("{} wherry.log=wherry_agent=debug\n", words.trim_end());
    Ok(std::fs::write(folder.join("cmdline"), words)?)
}

/// Reads every `name_us=number` of the log, by its line's message.
fn steps(log: &str) -> BTreeMap<(String, String), Vec<f64>> {
    let mut steps: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for line in log.lines() {
        let message = ["created", "prepared", "started", "cleaning up", "ended"]
            .into_iter()
            .find(|message| line.contains(&format!(": {message} ")));
        let Some(message) = message else {
            continue;
        };
        for (name, value) in line
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
        {
            if name.ends_with("_us")
                && let Ok(value) = value.parse()
            {
                let key = (message.to_owned(), name.to_owned());
                steps.entry(key).or_default().push(value);
            }
        }
    }
    steps
}
