//! QEMU's own port forwarding, which the figures of published ports are beside.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, ensure};
use serde_json::json;
use wherry_tests::Engine;

/// QEMU's control socket.
pub(crate) struct Control(BufReader<UnixStream>);

impl Control {
    pub(crate) fn connect(engine: &Engine) -> anyhow::Result<Self> {
        let path = engine.home().join("control.sock");
        let stream = UnixStream::connect(&path)
            .with_context(|| format!("cannot connect to {}", path.display()))?;
        let mut control = Self(BufReader::new(stream));
        let mut greeting = String::new();
        control.0.read_line(&mut greeting)?;
        control.execute(&json!({"execute": "qmp_capabilities"}))?;
        Ok(control)
    }

    fn execute(&mut self, command: &serde_json::Value) -> anyhow::Result<()> {
        writeln!(self.0.get_mut(), "{command}")?;
        loop {
            let mut line = String::new();
            ensure!(
                self.0.read_line(&mut line)? > 0,
                "QEMU closed its control socket"
            );
            let answer: serde_json::Value = serde_json::from_str(&line)?;
            if let Some(printed) = answer.get("return") {
                // Errors of the monitor's own commands come as text.
                ensure!(
                    printed.as_str().is_none_or(str::is_empty),
                    "QEMU says {printed}"
                );
                return Ok(());
            }
            ensure!(answer.get("error").is_none(), "QEMU says {answer}");
        }
    }

    /// Has QEMU forward a port of the loopback to one of the guest, of `"tcp"` or
    /// `"udp"`.
    pub(crate) fn forward(&mut self, protocol: &str, host: u16, guest: u16) -> anyhow::Result<()> {
        let line = format!("hostfwd_add {protocol}:127.0.0.1:{host}-:{guest}");
        self.execute(
            &json!({"execute": "human-monitor-command", "arguments": {"command-line": line}}),
        )
    }
}
