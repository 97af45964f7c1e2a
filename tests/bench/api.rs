//! Clients of the Docker Engine API at once: a container's whole life, as `docker run
//! --rm` asks for it, by the same client at the engine and at dockerd in the same VM.

use std::time::Instant;

use wherry_tests::{Api, Engine, IMAGE, run_once};

use crate::dockerd::Dockerd;
use crate::figure::{Bound, Figure, median, repeated};

const CLIENTS: usize = 50;
const RUNS: usize = 10;

/// Seconds of one engine.
struct Times {
    /// Of one life, with nobody else there.
    alone: f64,
    /// Of one among all, the middle one.
    among: f64,
    /// Until all were done.
    all: f64,
    /// Of a list of containers, among as many.
    list: f64,
}

pub(crate) fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    let ours = times(&Api::Unix(engine.home().join("run/docker.sock")))?;
    let theirs = Dockerd::start(engine).and_then(|dockerd| times(&dockerd.api()));
    if let Err(error) = &theirs {
        eprintln!("dockerd could not be measured: {error:#}");
    }
    let theirs = theirs.ok();
    let figure = |name, of: fn(&Times) -> f64| {
        Figure::new(
            name,
            (of(&ours) * 1e3, "ms"),
            (
                "dockerd in the same VM",
                theirs.as_ref().map(|t| of(t) * 1e3),
            ),
            ("no slower than dockerd", Bound::RatioAtMost(1.0)),
        )
    };
    Ok(vec![
        figure("api_run", |times| times.alone),
        figure("api_run_50", |times| times.among),
        figure("api_run_50_all", |times| times.all),
        figure("api_list_50", |times| times.list),
    ])
}

fn times(api: &Api) -> anyhow::Result<Times> {
    run_once(api, IMAGE)?;
    let alone = repeated(RUNS, || run_once(api, IMAGE))?;
    let (among, all) = at_once(|| run_once(api, IMAGE))?;
    let list = || {
        api.expect(200, "GET", "/v1.41/containers/json?all=1", None)
            .map(drop)
    };
    let (list, _) = at_once(list)?;
    Ok(Times {
        alone,
        among,
        all,
        list,
    })
}

/// Returns the middle one of the times that the clients took, and that of all.
fn at_once(act: impl Fn() -> anyhow::Result<()> + Sync) -> anyhow::Result<(f64, f64)> {
    let act = &act;
    let begun = Instant::now();
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(move || {
                    let begun = Instant::now();
                    act().map(|()| begun.elapsed().as_secs_f64())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("a client panicked"))?
            })
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok((median(times), begun.elapsed().as_secs_f64()))
}
