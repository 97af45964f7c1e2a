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
    let bare_machine = BareMachine::like(&engine)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        engine.succeed(&["machine", "stop"])?;
        let begun = Instant::now();
        engine.succeed(&["machine", "start"])?;
        ours.push(begun.elapsed().as_secs_f64());
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

/// A machine as the engine's, without its devices.
struct BareMachine {
    /// The arguments of the engine's QEMU.
    engines: Vec<String>,
}

impl BareMachine {
    fn like(engine: &Engine) -> anyhow::Result<Self> {
        let pid = engine.status_number("HypervisorPid")?;
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        Ok(Self {
            engines: line.split('\0').map(str::to_owned).collect(),
        })
    }

    /// Returns the value that the engine's QEMU has for an option.
    fn value(&self, option: &str) -> anyhow::Result<&str> {
        let mut arguments = self.engines.iter();
        arguments.find(|argument| *argument == option);
        let value = arguments.next();
        value
            .map(String::as_str)
            .with_context(|| format!("the engine's QEMU has no {option}"))
    }

    /// Boots the kernel with the bare init and returns the seconds until its line.
    fn boot(&self) -> anyhow::Result<f64> {
        let initramfs =
            std::env::var("WHERRY_BARE_INIT").context("run this by `cargo xtask bench`")?;
        let words = self.value("-append")?.split(' ');
        let words: Vec<_> = words.filter(|word| !word.starts_with("wherry.")).collect();
        let begun = Instant::now();
        let mut child = Command::new(format!("qemu-system-{}", std::env::consts::ARCH))
            .args(["-M", "microvm,pcie=on,acpi=on,rtc=on"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio"])
            .args(["-initrd", &initramfs, "-append", &words.join(" ")])
            .args(["-accel", self.value("-accel")?])
            .args(["-cpu", self.value("-cpu")?])
            .args(["-smp", self.value("-smp")?])
            .args(["-m", self.value("-m")?])
            .args(["-kernel", self.value("-kernel")?])
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
