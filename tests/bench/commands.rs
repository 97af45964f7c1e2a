//! Latency of commands, beside a bare fork and exec in the guest.

use std::time::Instant;

use wherry_tests::{Engine, IMAGE};

use crate::dockerd::Dockerd;
use crate::figure::{Bound, Figure, repeated};

const RUNS: usize = 10;
const CONTAINERS: usize = 20;

pub(crate) fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    engine.succeed(&["run", "-d", "--name", "latency", IMAGE, "sleep", "100000"])?;
    let bare = fork_and_exec(engine)?;
    eprintln!("a bare fork and exec in the guest: {:.1} ms", bare * 1e3);
    let run = repeated(RUNS, || {
        engine.succeed(&["run", "--rm", IMAGE, "true"]).map(drop)
    })?;
    let exec = repeated(RUNS, || {
        engine.succeed(&["exec", "latency", "true"]).map(drop)
    })?;
    engine.succeed(&["rm", "-f", "latency"])?;

    let begun = Instant::now();
    for _ in 0..CONTAINERS {
        engine.succeed(&["run", "--rm", IMAGE, "true"])?;
    }
    let sequence = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let children: Vec<_> = (0..CONTAINERS)
        .map(|_| engine.spawn(&["run", "--rm", IMAGE, "true"]))
        .collect::<Result<_, _>>()?;
    for child in children {
        let output = child.wait_with_output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
    }
    let at_once = begun.elapsed().as_secs_f64();
    let theirs = dockerds(engine);
    if let Err(error) = &theirs {
        eprintln!("dockerd could not be measured: {error:#}");
    }
    let (their_run, their_exec) = theirs.ok().unzip();
    let quarter = || ("a quarter of dockerd's", Bound::RatioAtMost(0.25));
    Ok(vec![
        Figure::new(
            "run_true",
            (run * 1e3, "ms"),
            ("dockerd in the same VM", their_run.map(|s| s * 1e3)),
            quarter(),
        ),
        Figure::new(
            "exec_true",
            (exec * 1e3, "ms"),
            ("dockerd in the same VM", their_exec.map(|s| s * 1e3)),
            quarter(),
        ),
        Figure::new(
            "run_twenty",
            (at_once, "s"),
            ("one after the other", Some(sequence)),
            ("faster than in sequence", Bound::RatioAtMost(1.0)),
        ),
    ])
}

/// Seconds that dockerd takes for `run` and for `exec`.
fn dockerds(engine: &Engine) -> anyhow::Result<(f64, f64)> {
    let dockerd = Dockerd::start(engine)?;
    dockerd.docker(&["run", "-d", "--name", "latency", IMAGE, "sleep", "100000"])?;
    let run = repeated(RUNS, || dockerd.docker(&["run", "--rm", IMAGE, "true"]))?;
    let exec = repeated(RUNS, || dockerd.docker(&["exec", "latency", "true"]))?;
    Ok((run, exec))
}

/// Seconds that a shell in the guest takes to start and reap one program.
fn fork_and_exec(engine: &Engine) -> anyhow::Result<f64> {
    const TIMES: usize = 50;
    let loop_of =
        |times: usize| format!("i=0; while [ $i -lt {times} ]; do /bin/true; i=$((i+1)); done");
    let time = |times| {
        repeated(RUNS, || {
            engine
                .succeed(&["exec", "latency", "sh", "-c", &loop_of(times)])
                .map(drop)
        })
    };
    Ok((time(TIMES)? - time(0)?) / TIMES as f64)
}
