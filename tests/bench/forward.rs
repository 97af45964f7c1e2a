//! Published ports, beside QEMU's own port forwarding into the same VM and to
//! the same server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use wherry_tests::{Engine, IMAGE, net, wait};

use crate::figure::{Bound, Figure, median};

const BYTES: usize = 64 << 20;
const RUNS: usize = 3;
const CONNECTIONS: usize = 10_000;

/// A server on three ports: one swallows and counts, one sends, one echoes.
const SERVER: &str = "nc -ll -p 5001 -e sh -c 'cat | wc -c' & nc -ll -p 5002 -e head -c 67108864 /dev/zero & nc -ll -p 5003 -e cat & nc -ll -p 5004 -e true & wait";

struct Ports {
    sink: u16,
    source: u16,
    echo: u16,
}

pub(crate) fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    let ours = Ports {
        sink: net::free_port()?,
        source: net::free_port()?,
        echo: net::free_port()?,
    };
    let short = net::free_port()?;
    let publish = |host: u16, port: u16| format!("{host}:{port}");
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "server",
        "-p",
        &publish(ours.sink, 5001),
        "-p",
        &publish(ours.source, 5002),
        "-p",
        &publish(ours.echo, 5003),
        "-p",
        &publish(short, 5004),
        IMAGE,
        "sh",
        "-c",
        SERVER,
    ])?;
    // QEMU forwards to the guest's own address, so its server is on that network.
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "host-server",
        "--net",
        "host",
        IMAGE,
        "sh",
        "-c",
        SERVER,
    ])?;
    let theirs = Ports {
        sink: net::free_port()?,
        source: net::free_port()?,
        echo: net::free_port()?,
    };
    let mut control = Control::connect(engine)?;
    for (host, guest) in [
        (theirs.sink, 5001),
        (theirs.source, 5002),
        (theirs.echo, 5003),
    ] {
        control.forward(host, guest)?;
    }
    for port in [&ours, &theirs].map(|ports| ports.echo) {
        wait::until("the server", Duration::from_secs(30), || {
            Ok(net::request(port, b"x").is_ok_and(|reply| reply == b"x"))
        })?;
    }

    let into = |port| repeated(|| send(port, BYTES));
    let out = |port| repeated(|| receive(port));
    let many = |port| repeated(|| send_many(port, 64, BYTES / 64));
    let at_least = || ("at least 3 times", Bound::RatioAtLeast(3.0));
    let figures = vec![
        Figure::new(
            "port_round_trip",
            (round_trip(ours.echo)? * 1e3, "ms"),
            ("QEMU's hostfwd", Some(round_trip(theirs.echo)? * 1e3)),
            ("no slower", Bound::RatioAtMost(1.0)),
        ),
        Figure::new(
            "port_in",
            (into(ours.sink)?, "MB/s"),
            ("QEMU's hostfwd", Some(into(theirs.sink)?)),
            at_least(),
        ),
        Figure::new(
            "port_out",
            (out(ours.source)?, "MB/s"),
            ("QEMU's hostfwd", Some(out(theirs.source)?)),
            at_least(),
        ),
        Figure::new(
            "port_in_64",
            (many(ours.sink)?, "MB/s"),
            ("QEMU's hostfwd", Some(many(theirs.sink)?)),
            at_least(),
        ),
        short_connections(short)?,
    ];
    engine.succeed(&["rm", "-f", "server", "host-server"])?;
    Ok(figures)
}

/// QEMU's control socket.
struct Control(BufReader<UnixStream>);

impl Control {
    fn connect(engine: &Engine) -> anyhow::Result<Self> {
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

    fn forward(&mut self, host: u16, guest: u16) -> anyhow::Result<()> {
        let line = format!("hostfwd_add tcp:127.0.0.1:{host}-:{guest}");
        self.execute(
            &json!({"execute": "human-monitor-command", "arguments": {"command-line": line}}),
        )
    }
}

fn repeated(mut action: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let values = (0..RUNS).map(|_| action()).collect::<Result<_, _>>()?;
    Ok(median(values))
}

/// Sends bytes, waits until the server has counted them, and returns MB/s.
fn send(port: u16, length: usize) -> anyhow::Result<f64> {
    let chunk = vec![0; 256 << 10];
    let begun = Instant::now();
    let mut stream = net::connect(port)?;
    let mut left = length;
    while left > 0 {
        let now = left.min(chunk.len());
        stream.write_all(&chunk[..now])?;
        left -= now;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut counted = String::new();
    stream.read_to_string(&mut counted)?;
    ensure!(
        counted.trim() == length.to_string(),
        "{length} bytes sent, {counted} counted"
    );
    Ok(length as f64 / begun.elapsed().as_secs_f64() / 1e6)
}

fn send_many(port: u16, streams: usize, each: usize) -> anyhow::Result<f64> {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..streams)
            .map(|_| scope.spawn(|| send(port, each)))
            .collect();
        for sender in senders {
            sender
                .join()
                .map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        anyhow::Ok(())
    })?;
    Ok((streams * each) as f64 / begun.elapsed().as_secs_f64() / 1e6)
}

fn receive(port: u16) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut stream = net::connect(port)?;
    let mut buffer = vec![0; 256 << 10];
    let mut received = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            count => received += count,
        }
    }
    ensure!(received == BYTES, "{received} bytes came");
    Ok(BYTES as f64 / begun.elapsed().as_secs_f64() / 1e6)
}

fn round_trip(port: u16) -> anyhow::Result<f64> {
    let mut stream = net::connect(port)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

fn short_connections(port: u16) -> anyhow::Result<Figure> {
    let begun = Instant::now();
    let mut errors = 0;
    for _ in 0..CONNECTIONS {
        if net::request(port, b"").is_err() {
            errors += 1;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{CONNECTIONS} short connections in {seconds:.1} s");
    Ok(Figure::new(
        "port_connections",
        (f64::from(errors), "errors"),
        ("", None),
        ("10,000 without an error", Bound::ValueAtMost(0.0)),
    ))
}
