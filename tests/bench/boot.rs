//! Cold start, beside the same kernel with an init that prints a line.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use wherry_tests::Engine;

use crate::figure::{Bound, Figure, median};

const RUNS: usize = 5;

pub(crate) fn measure(_: &Engine) -> anyhow::Result<Vec<Figure>> {
    // An engine of its own, of which only the machine is started again.
    let engine = Engine::new()?;
    engine.succeed(&["machine", "start"])?;
    let accelerator = engine.status()?["Accelerator"]
        .as_str()
        .context("no accelerator")?
        .to_owned();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        engine.succeed(&["machine", "stop"])?;
        let begun = Instant::now();
        engine.succeed(&["machine", "start"])?;
        ours.push(begun.elapsed().as_secs_f64());
        let bare_machine = BareMachine {
            accelerator: &accelerator,
            memory: engine.status_number("Memory")?,
            kernel_words: kernel_words(&engine)?,
        };
        engine.succeed(&["machine", "stop"])?;
        bare.push(bare_machine.boot()?);
        engine.succeed(&["machine", "start"])?;
    }
    Ok(vec![Figure::new(
        "cold_start",
        (median(ours), "s"),
        ("the same kernel, a bare init", Some(median(bare))),
        ("at most 1.3 times", Bound::RatioAtMost(1.3)),
    )])
}

/// Returns the command line of the engine's kernel, without what is for its init.
fn kernel_words(engine: &Engine) -> anyhow::Result<String> {
    let pid = engine.status_number("HypervisorPid")?;
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    let words = line
        .split('\0')
        .skip_while(|argument| *argument != "-append")
        .nth(1)
        .context("the engine's QEMU has no -append")?
        .split(' ')
        .filter(|word| !word.starts_with("wherry."));
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// A machine as the engine's, without its devices.
struct BareMachine<'a> {
    accelerator: &'a str,
    /// Bytes.
    memory: u64,
    kernel_words: String,
}

impl BareMachine<'_> {
    /// Boots the kernel with the bare init and returns the seconds until its line.
    fn boot(&self) -> anyhow::Result<f64> {
        let initramfs =
            std::env::var("WHERRY_BARE_INIT").context("run this by `cargo xtask bench`")?;
        let programs = std::env::var("WHERRY_PROGRAMS")?;
        let accelerator = match self.accelerator {
            "tcg" => "tcg,thread=multi",
            other => other,
        };
        let begun = Instant::now();
        let mut child = Command::new(format!("qemu-system-{}", std::env::consts::ARCH))
            .args([
                "-M",
                "microvm,pcie=on,acpi=on,rtc=on",
                "-accel",
                accelerator,
            ])
            .args([
                "-smp",
                "2",
                "-cpu",
                "max",
                "-m",
                &format!("{}M", self.memory >> 20),
                "-nodefaults",
                "-no-user-config",
            ])
            .args(["-display", "none", "-no-reboot", "-serial", "stdio"])
            .args([
                "-kernel",
                &format!("{programs}/guest/kernel"),
                "-initrd",
                &initramfs,
            ])
            .args(["-append", &self.kernel_words])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut seconds = None;
        for line in BufReader::new(output).lines() {
            if line?.contains("bare init") {
                seconds = Some(begun.elapsed().as_secs_f64());
                break;
            }
        }
        let _ = child.kill();
        child.wait()?;
        match seconds {
            Some(seconds) => Ok(seconds),
            None => bail!("the bare init printed nothing"),
        }
    }
}
