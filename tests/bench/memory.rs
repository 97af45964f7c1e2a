//! Memory of an engine that has nothing to do.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use wherry_tests::{Engine, IMAGE};

use crate::figure::{Bound, Figure};

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// dockerd's own figures, measured natively; see the project's targets.
const DOCKERD: f64 = 73.0;
const SHIM: f64 = 18.6;

pub(crate) fn measure(_: &Engine) -> anyhow::Result<Vec<Figure>> {
    let engine = Engine::new()?;
    engine.succeed(&["machine", "start"])?;
    let machine = engine.status_number("Resident")?;
    engine.load_image()?;
    engine.succeed(&["run", "-d", "--name", "idle", IMAGE, "sleep", "1000"])?;
    // A shim gives back what starting took when nothing has happened for a while.
    std::thread::sleep(Duration::from_secs(5));
    let info: Value = serde_json::from_str(&engine.succeed(&["info", "--format", "json"])?)?;
    let agent = info["AgentResident"].as_f64().context("no AgentResident")?;
    // The guest's own process table, where the shim is to be seen.
    let status = engine.succeed(&[
        "run",
        "--rm",
        "--privileged",
        "--pid",
        "host",
        IMAGE,
        "sh",
        "-c",
        "ps -o pid,args | while read p c; do case \"$c\" in '/proc/self/exe shim '*) grep VmRSS /proc/$p/status; break; esac; done",
    ])?;
    let shim: f64 = status
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
        .next()
        .with_context(|| format!("no shim in {status:?}"))?;
    Ok(vec![
        Figure::new(
            "agent_memory",
            (agent / MEBIBYTE, "MiB"),
            ("dockerd, natively", Some(DOCKERD)),
            ("at most 15 MiB", Bound::ValueAtMost(15.0)),
        ),
        Figure::new(
            "shim_memory",
            (shim / 1024.0, "MiB"),
            ("containerd's shim, natively", Some(SHIM)),
            ("at most 3 MiB", Bound::ValueAtMost(3.0)),
        ),
        Figure::new(
            "machine_memory",
            (machine as f64 / MEBIBYTE, "MiB"),
            ("", None),
            ("at most 120 MiB", Bound::ValueAtMost(120.0)),
        ),
    ])
}
