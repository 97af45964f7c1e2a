//! Loading an image, beside `tar -x` of the same layer in the guest.

use std::time::Instant;

use anyhow::ensure;
use wherry_tests::{Engine, IMAGE, archive};

use crate::figure::{Bound, Figure};

const FILES: usize = 2_000;
const FILE_BYTES: usize = 100 << 10;

pub(crate) fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    // About 200 MB in files of the size that packages have.
    let mut layer = tar::Builder::new(Vec::new());
    let mut bytes = vec![0; FILE_BYTES];
    for file in 0..FILES {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = (at * 31 + file * 7 + at / 13) as u8;
        }
        archive::append(
            &mut layer,
            &format!("usr/lib/{}/{file}", file % 50),
            &bytes,
            0o644,
        )?;
    }
    let layer = layer.into_inner()?;

    // Both begin on the host and end on the guest's disk.
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "unpack",
        "-v",
        "unpacked:/out",
        IMAGE,
        "sleep",
        "100000",
    ])?;
    let begun = Instant::now();
    let ran = engine.run_with_input(
        &["exec", "-i", "unpack", "sh", "-c", "tar -x -C /out && sync"],
        &layer,
    )?;
    ensure!(ran.code == 0, "{ran:?}");
    let tar = begun.elapsed().as_secs_f64();
    engine.succeed(&["rm", "-f", "unpack"])?;

    let image = archive::docker_archive("bench/load:1", &[layer])?;
    let begun = Instant::now();
    let ran = engine.run_with_input(&["load"], &image)?;
    ensure!(ran.code == 0, "{ran:?}");
    let load = begun.elapsed().as_secs_f64();
    Ok(vec![Figure::new(
        "load",
        (load, "s"),
        ("tar -x of the layer in the guest", Some(tar)),
        ("at most 1.3 times", Bound::RatioAtMost(1.3)),
    )])
}
