//! The data disk: what is removed gives its space back to the host.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::ensure;
use wherry_tests::{Engine, archive, wait};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("a_removed_image_gives_its_space_back_to_the_host", image),
    (
        "nothing_is_wrong_and_nothing_unused_after_a_prune",
        check_and_prune,
    ),
];

/// Bytes that make a difference well above what the file system itself writes.
const SIZE: usize = 64 << 20;

/// PITFALLS 14.
fn image(engine: &Engine) -> anyhow::Result<()> {
    // Neither the host's file system nor QEMU takes these for zeros.
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(SIZE)
    .collect();
    let mut layer = tar::Builder::new(Vec::new());
    archive::append(&mut layer, "big", &bytes, 0o644)?;
    let archive = archive::docker_archive("test/space:1", &[layer.into_inner()?])?;
    let taken = || -> anyhow::Result<u64> {
        Ok(std::fs::metadata(engine.home().join("data.img"))?.blocks() * 512)
    };
    let before = taken()?;
    let ran = engine.run_with_input(&["load", "-q"], &archive)?;
    ensure!(ran.code == 0, "{ran:?}");
    let loaded = taken()?;
    ensure!(
        loaded >= before + SIZE as u64 / 2,
        "{before} bytes, then {loaded}"
    );
    engine.succeed(&["rmi", "test/space:1"])?;
    // ext4 discards as its journal commits, every five seconds.
    let limit = before + SIZE as u64 / 8;
    let outcome = wait::until("the space's return", Duration::from_secs(30), || {
        Ok(taken()? <= limit)
    });
    eprintln!(
        "data.img: {before} bytes before, {loaded} with the image, {} without it",
        taken()?
    );
    outcome
}

fn check_and_prune(engine: &Engine) -> anyhow::Result<()> {
    let ran = engine.run(&["system", "check"])?;
    ensure!(
        ran.code == 0 && ran.stdout.contains("nothing is wrong"),
        "{ran:?}"
    );
    engine.succeed(&["run", "--name", "prunable", "hello"])?;
    let df = engine.succeed(&["system", "df", "-v"])?;
    ensure!(df.contains("prunable"), "{df}");
    let pruned = engine.succeed(&["system", "prune", "-f", "--filter", "label!=keep"])?;
    ensure!(
        pruned.contains("Deleted Containers:") && pruned.contains("Total reclaimed space:"),
        "{pruned}"
    );
    let left = engine.succeed(&["ps", "-aq", "--filter", "name=prunable"])?;
    ensure!(left.is_empty(), "{left}");
    let ran = engine.run(&["system", "check"])?;
    ensure!(ran.code == 0, "{ran:?}");
    Ok(())
}
