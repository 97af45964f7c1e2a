//! The end-to-end tests. They drive `wherry` as a user would, against a guest
//! that QEMU boots. Most share one machine, because booting is what takes time;
//! those that break things have one of their own.

mod bad_input;
mod containers;
mod disk;
mod docker;
mod failures;
mod files;
mod images;
mod lifecycle;
mod limits;
mod load;
mod networks;
mod ports;
mod power_cut;
mod publishing;
mod registry;
mod shares;
mod streams;
mod terminal;
mod waking;

use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use wherry_tests::Engine;

/// A test on the shared machine.
type Shared = fn(&Engine) -> anyhow::Result<()>;

/// A test with engines of its own.
type Alone = fn() -> anyhow::Result<()>;

/// The machine that tests share, booted by the first one that needs it.
#[derive(Default)]
struct SharedEngine(OnceLock<Result<Engine, String>>);

impl SharedEngine {
    fn get(&self) -> Result<&Engine, Failed> {
        self.0
            .get_or_init(|| Engine::started().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| Failed::from(format!("the shared machine did not start: {error}")))
    }
}

fn main() {
    let mut arguments = Arguments::from_args();
    // Two processors that emulate a guest have no time for two tests.
    arguments.test_threads = Some(1);
    let engine = Arc::new(SharedEngine::default());
    let mut trials = Vec::new();
    for (group, tests) in [
        ("containers", containers::TESTS),
        ("streams", streams::TESTS),
        ("terminal", terminal::TESTS),
        ("ports", ports::TESTS),
        ("publishing", publishing::TESTS),
        ("waking", waking::TESTS),
        ("networks", networks::TESTS),
        ("shares", shares::TESTS),
        ("images", images::TESTS),
        ("lifecycle", lifecycle::TESTS),
        ("limits", limits::TESTS),
        ("registry", registry::TESTS),
        ("bad_input", bad_input::TESTS),
        ("disk", disk::TESTS),
        ("files", files::TESTS),
        ("docker", docker::TESTS),
        ("load", load::TESTS),
    ] {
        for &(name, test) in tests {
            let engine = engine.clone();
            trials.push(Trial::test(format!("{group}::{name}"), move || {
                let engine = engine.get()?;
                run(|| test(engine))
            }));
        }
    }
    for &(name, test) in bad_input::ALONE
        .iter()
        .chain(lifecycle::ALONE)
        .chain(networks::ALONE)
        .chain(failures::TESTS)
        .chain(power_cut::TESTS)
    {
        trials.push(Trial::test(format!("alone::{name}"), move || run(test)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Stops the shared machine, which `exit` would not.
    drop(engine);
    conclusion.exit();
}

fn run(test: impl FnOnce() -> anyhow::Result<()>) -> Result<(), Failed> {
    test().map_err(|error| Failed::from(format!("{error:#}")))
}
