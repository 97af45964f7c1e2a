//! The vsock device alone, on the engine's kernel with a peer as its init,
//! beside QEMU's own port forwarding into the same VM. What is measured is the
//! device's test through a booted guest, which prints its figures.

use std::process::Command;

use anyhow::{Context, ensure};
use wherry_tests::Engine;

use crate::figure::{Bound, Figure};

pub(crate) fn measure(_: &Engine) -> anyhow::Result<Vec<Figure>> {
    let programs = std::env::var("WHERRY_PROGRAMS").context("run this by `cargo xtask bench`")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--release", "-q", "-p", "wherry-vsock"])
        .args(["--test", "guest", "--", "--nocapture"])
        .env("WHERRY_TEST_KERNEL", format!("{programs}/guest/kernel"))
        .env("WHERRY_TEST_QUICK", "1")
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "the device's test failed: {printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let figure = |what: &str| -> anyhow::Result<f64> {
        let line = printed.lines().find_map(|line| line.strip_prefix(what));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("the device's test says nothing of {what:?}"))
    };
    let throughput = |name, direction: &str| -> anyhow::Result<Figure> {
        let value = figure(&format!("throughput {direction}: "))?;
        let other = figure(&format!("throughput {direction}, hostfwd: "))?;
        Ok(Figure::new(
            name,
            (value, "MB/s"),
            ("QEMU's hostfwd", Some(other)),
            ("at least 3 times", Bound::RatioAtLeast(3.0)),
        ))
    };
    Ok(vec![
        Figure::new(
            "vsock_round_trip",
            (figure("round trip: ")?, "ms"),
            ("", None),
            ("none", Bound::ValueAtMost(f64::INFINITY)),
        ),
        throughput("vsock_in", "in")?,
        throughput("vsock_out", "out")?,
    ])
}
