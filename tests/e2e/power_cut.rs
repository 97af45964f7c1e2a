//! Power cuts: QEMU killed at random moments while something changes the data
//! disk. Afterwards nothing is wrong, and what was acknowledged is there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, archive, process, wait};

use crate::Alone;

pub(crate) const TESTS: &[(&str, Alone)] = &[("power_cuts_lose_nothing", power_cuts)];

/// How many times the power is cut where `WHERRY_TEST_POWER_CUTS` says nothing.
const ROUNDS: u32 = 4;

/// The longest that something runs before the power is cut.
const LONGEST: Duration = Duration::from_secs(4);

/// What must be there after the power cut: it was acknowledged, and then synced
/// or durable by itself.
#[derive(Debug, Default)]
struct Acknowledged {
    images: BTreeSet<String>,
    containers: BTreeSet<String>,
    /// Those whose removal was acknowledged.
    removed: BTreeSet<String>,
}

/// Something that changes the data disk once, and fails where the power is cut.
type Change = fn(&Engine, &str, &mut Acknowledged) -> anyhow::Result<()>;

/// A new kind of change has its place here.
const CHANGES: &[(&str, Change)] = &[
    ("load", load),
    ("commit", commit),
    ("run", run),
    ("rm", remove),
    ("rmi", remove_image),
];

fn power_cuts() -> anyhow::Result<()> {
    let rounds = match std::env::var("WHERRY_TEST_POWER_CUTS") {
        Ok(number) => number
            .parse()
            .context("WHERRY_TEST_POWER_CUTS is no number")?,
        Err(_) => ROUNDS,
    };
    let mut random = Random::new();
    eprintln!("power cuts with the seed {}", random.0);
    let engine = Engine::started()?;
    let mut acknowledged = Acknowledged::default();
    acknowledged.images.insert(IMAGE.to_owned());
    let first = random.below(CHANGES.len() as u64) as usize;
    for round in 0..rounds {
        let (name, change) = CHANGES[(first + round as usize) % CHANGES.len()];
        let delay = Duration::from_millis(random.below(LONGEST.as_millis() as u64));
        let place = || format!("round {round}: {name} for {delay:?}");
        cut(&engine, change, round, delay, &mut acknowledged).with_context(place)?;
        engine.succeed(&["machine", "start"]).with_context(place)?;
        verify(&engine, &acknowledged).with_context(place)?;
        eprintln!("{}: nothing lost", place());
    }
    engine.succeed(&["run", "--rm", IMAGE, "true"])?;
    Ok(())
}

/// Runs a change over and over, and kills QEMU after the delay.
fn cut(
    engine: &Engine,
    change: Change,
    round: u32,
    delay: Duration,
    acknowledged: &mut Acknowledged,
) -> anyhow::Result<()> {
    let hypervisor = u32::try_from(engine.status_number("HypervisorPid")?)?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let killer = scope.spawn(move || {
            std::thread::sleep(delay);
            process::kill(hypervisor)
        });
        let mut step = 0;
        while begun.elapsed() < delay {
            let name = format!("cut-{round}-{step}");
            if let Err(error) = change(engine, &name, acknowledged) {
                // Only with the power gone may it fail.
                if begun.elapsed() < delay {
                    let _ = killer.join();
                    return Err(error);
                }
                break;
            }
            step += 1;
        }
        killer
            .join()
            .map_err(|_| anyhow::anyhow!("the killer panicked"))?
    })?;
    wait::until("the power cut", Duration::from_secs(30), || {
        let status = engine.status()?;
        let failed = status["State"]
            .as_str()
            .is_some_and(|state| state.eq_ignore_ascii_case("failed"));
        // A command of the change that came after the cut has started it again.
        let other = status["HypervisorPid"]
            .as_u64()
            .is_some_and(|pid| pid != 0 && pid != u64::from(hypervisor));
        Ok(failed || other)
    })
}

fn verify(engine: &Engine, acknowledged: &Acknowledged) -> anyhow::Result<()> {
    let checked = engine.run(&["system", "check"])?;
    ensure!(
        checked.code == 0 && checked.stdout.trim_end().ends_with("nothing is wrong"),
        "{checked:?}"
    );
    let images = engine.succeed(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    let images: BTreeSet<_> = images.lines().collect();
    for image in &acknowledged.images {
        ensure!(images.contains(image.as_str()), "the image {image} is lost");
    }
    let containers = engine.succeed(&["ps", "-a", "--format", "{{.Names}}"])?;
    let containers: BTreeSet<_> = containers.lines().collect();
    for container in &acknowledged.containers {
        ensure!(
            containers.contains(container.as_str()),
            "the container {container} is lost"
        );
    }
    for removed in &acknowledged.removed {
        ensure!(
            !containers.contains(removed.as_str()) && !images.contains(removed.as_str()),
            "{removed} is there again"
        );
    }
    Ok(())
}

fn load(engine: &Engine, name: &str, acknowledged: &mut Acknowledged) -> anyhow::Result<()> {
    let mut layer = tar::Builder::new(Vec::new());
    archive::append(&mut layer, "name", name.as_bytes(), 0o644)?;
    archive::append(&mut layer, "big", &vec![name.len() as u8; 8 << 20], 0o644)?;
    let tag = format!("test/{name}:1");
    let bytes = archive::docker_archive(&tag, &[archive::busybox_root()?, layer.into_inner()?])?;
    let ran = engine.run_with_input(&["load", "-q"], &bytes)?;
    ensure!(ran.code == 0, "{ran:?}");
    acknowledged.images.insert(tag);
    Ok(())
}

fn commit(engine: &Engine, name: &str, acknowledged: &mut Acknowledged) -> anyhow::Result<()> {
    let tag = format!("test/{name}:1");
    run(engine, name, acknowledged)?;
    engine.succeed(&["commit", name, &tag])?;
    acknowledged.images.insert(tag);
    Ok(())
}

fn run(engine: &Engine, name: &str, acknowledged: &mut Acknowledged) -> anyhow::Result<()> {
    let script = "dd if=/dev/zero of=/file bs=64k count=16; sync";
    // Its record is durable from its creation on, whatever becomes of its run.
    engine.succeed(&["create", "--name", name, IMAGE, "sh", "-c", script])?;
    acknowledged.containers.insert(name.to_owned());
    engine.succeed(&["start", name])?;
    Ok(())
}

fn remove(engine: &Engine, name: &str, acknowledged: &mut Acknowledged) -> anyhow::Result<()> {
    run(engine, name, acknowledged)?;
    // From the moment it is asked for, both answers are right.
    acknowledged.containers.remove(name);
    engine.succeed(&["rm", "-f", name])?;
    Ok(())
}

fn remove_image(
    engine: &Engine,
    name: &str,
    acknowledged: &mut Acknowledged,
) -> anyhow::Result<()> {
    load(engine, name, acknowledged)?;
    let tag = format!("test/{name}:1");
    acknowledged.images.remove(&tag);
    engine.succeed(&["rmi", &tag])?;
    acknowledged.removed.insert(tag);
    Ok(())
}

/// xorshift64: good enough to choose moments, and printed to be repeated.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(now.as_nanos() as u64 | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}
