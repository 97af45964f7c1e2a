//! Power cuts: QEMU killed at random moments while something changes the data
//! disk. Afterwards nothing is wrong, and what was acknowledged is there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, Ran, Registry, archive, process, wait};

use crate::Alone;

pub(crate) const TESTS: &[(&str, Alone)] = &[("power_cuts_lose_nothing", power_cuts)];

/// How many times the power is cut where `WHERRY_TEST_POWER_CUTS` says nothing.
const ROUNDS: u32 = 4;

/// The longest that something runs before the power is cut.
const LONGEST: Duration = Duration::from_secs(4);

/// How many images the registry has for one round: more than are pulled in it.
const PULLED: usize = 4;

/// What must be there after the power cut: it was acknowledged, and then synced
/// or durable by itself.
#[derive(Debug, Default)]
struct Acknowledged {
    images: BTreeSet<String>,
    /// Those of them whose content was not read back yet.
    unread: BTreeSet<String>,
    containers: BTreeSet<String>,
    /// Those whose removal was acknowledged.
    removed: BTreeSet<String>,
}

impl Acknowledged {
    fn image(&mut self, name: &str) {
        self.images.insert(name.to_owned());
        self.unread.insert(name.to_owned());
    }

    fn without_image(&mut self, name: &str) {
        self.images.remove(name);
        self.unread.remove(name);
    }
}

/// What the changes work on.
struct Scene {
    engine: Engine,
    registry: Registry,
    /// Images of the registry that were not pulled yet.
    to_pull: Vec<String>,
    acknowledged: Acknowledged,
}

/// Something that changes the data disk once, and fails where the power is cut.
type Change = fn(&mut Scene, &str) -> anyhow::Result<()>;

/// A new kind of change has its place here.
const CHANGES: &[(&str, Change)] = &[
    ("pull", pull),
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
    let mut scene = Scene {
        engine: Engine::started()?,
        registry: Registry::open()?,
        to_pull: Vec::new(),
        acknowledged: Acknowledged::default(),
    };
    scene.acknowledged.image(IMAGE);
    let first = random.below(CHANGES.len() as u64) as usize;
    for round in 0..rounds {
        let (name, change) = CHANGES[(first + round as usize) % CHANGES.len()];
        let delay = Duration::from_millis(random.below(LONGEST.as_millis() as u64));
        let place = || format!("round {round}: {name} for {delay:?}");
        if name == "pull" {
            scene.fill_registry(round, &mut random)?;
        }
        scene.cut(change, round, delay).with_context(place)?;
        scene
            .engine
            .succeed(&["machine", "start"])
            .with_context(place)?;
        scene.verify().with_context(place)?;
        if name == "pull" {
            scene.pull_again().with_context(place)?;
        }
        eprintln!("{}: nothing lost", place());
    }
    scene.engine.succeed(&["run", "--rm", IMAGE, "true"])?;
    Ok(())
}

impl Scene {
    /// Runs a change over and over, and kills QEMU after the delay.
    fn cut(&mut self, change: Change, round: u32, delay: Duration) -> anyhow::Result<()> {
        let hypervisor = u32::try_from(self.engine.status_number("HypervisorPid")?)?;
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let killer = scope.spawn(move || {
                std::thread::sleep(delay);
                process::kill(hypervisor)
            });
            let mut step = 0;
            while begun.elapsed() < delay {
                let name = format!("cut-{round}-{step}");
                if let Err(error) = change(self, &name) {
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
            let status = self.engine.status()?;
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

    fn verify(&mut self) -> anyhow::Result<()> {
        let (engine, acknowledged) = (&self.engine, &mut self.acknowledged);
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
        for image in std::mem::take(&mut acknowledged.unread) {
            // Each layer is made again byte for byte and held to its digest.
            let saved = engine.output_with_input(&["save", &image], b"")?;
            ensure!(saved.status.success(), "{:?}", Ran::from(saved));
        }
        Ok(())
    }

    /// Puts images into the registry that the engine has not seen, of layers
    /// that download and unpack side by side.
    fn fill_registry(&mut self, round: u32, random: &mut Random) -> anyhow::Result<()> {
        self.to_pull.clear();
        for number in 0..PULLED {
            let layers = (0..4).map(|layer| {
                let mut tar = tar::Builder::new(Vec::new());
                archive::append(
                    &mut tar,
                    &format!("noise-{layer}"),
                    &random.bytes(2 << 20),
                    0o644,
                )?;
                for small in 0..50 {
                    let path = format!("small/{layer}/{small}");
                    archive::append(&mut tar, &path, &random.bytes(100), 0o644)?;
                }
                Ok(tar.into_inner()?)
            });
            let layers = layers.collect::<anyhow::Result<Vec<_>>>()?;
            let bytes = archive::docker_archive("test/pulled:1", &layers)?;
            let name = format!("cut/pull-{round}-{number}:1");
            self.to_pull.push(self.registry.fill(&name, &bytes)?);
        }
        Ok(())
    }

    /// Pulls what a power cut ended, which goes on from where it was.
    fn pull_again(&mut self) -> anyhow::Result<()> {
        pull(self, "")?;
        self.verify()
    }
}

fn pull(scene: &mut Scene, _: &str) -> anyhow::Result<()> {
    let Some(name) = scene.to_pull.last().cloned() else {
        // All are here: pulled again, they are found to be up to date.
        let mut any = scene.acknowledged.images.iter();
        let Some(name) = any.rfind(|name| name.starts_with("localhost:")) else {
            return Ok(());
        };
        scene.engine.succeed(&["pull", "-q", name])?;
        return Ok(());
    };
    scene.engine.succeed(&["pull", "-q", &name])?;
    scene.to_pull.pop();
    scene.acknowledged.image(&name);
    Ok(())
}

fn load(scene: &mut Scene, name: &str) -> anyhow::Result<()> {
    let mut layer = tar::Builder::new(Vec::new());
    archive::append(&mut layer, "name", name.as_bytes(), 0o644)?;
    archive::append(&mut layer, "big", &vec![name.len() as u8; 8 << 20], 0o644)?;
    let tag = format!("test/{name}:1");
    let bytes = archive::docker_archive(&tag, &[archive::busybox_root()?, layer.into_inner()?])?;
    let ran = scene.engine.run_with_input(&["load", "-q"], &bytes)?;
    ensure!(ran.code == 0, "{ran:?}");
    scene.acknowledged.image(&tag);
    Ok(())
}

fn commit(scene: &mut Scene, name: &str) -> anyhow::Result<()> {
    let tag = format!("test/{name}:1");
    run(scene, name)?;
    scene.engine.succeed(&["commit", name, &tag])?;
    scene.acknowledged.image(&tag);
    Ok(())
}

fn run(scene: &mut Scene, name: &str) -> anyhow::Result<()> {
    let script = "dd if=/dev/zero of=/file bs=64k count=16; sync";
    // Its record is durable from its creation on, whatever becomes of its run.
    let create = ["create", "--name", name, IMAGE, "sh", "-c", script];
    scene.engine.succeed(&create)?;
    scene.acknowledged.containers.insert(name.to_owned());
    scene.engine.succeed(&["start", name])?;
    Ok(())
}

fn remove(scene: &mut Scene, name: &str) -> anyhow::Result<()> {
    run(scene, name)?;
    // From the moment it is asked for, both answers are right.
    scene.acknowledged.containers.remove(name);
    scene.engine.succeed(&["rm", "-f", name])?;
    scene.acknowledged.removed.insert(name.to_owned());
    Ok(())
}

fn remove_image(scene: &mut Scene, name: &str) -> anyhow::Result<()> {
    load(scene, name)?;
    let tag = format!("test/{name}:1");
    scene.acknowledged.without_image(&tag);
    scene.engine.succeed(&["rmi", &tag])?;
    scene.acknowledged.removed.insert(tag);
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

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let numbers = (0..length.div_ceil(8)).flat_map(|_| self.below(u64::MAX).to_le_bytes());
        numbers.take(length).collect()
    }
}
