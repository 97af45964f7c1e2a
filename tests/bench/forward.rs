//! Published ports, beside QEMU's own port forwarding into the same VM and to
//! the same server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use wherry_tests::{Engine, archive, net, wait};

use crate::figure::{Bound, Figure, median};

const BYTES: usize = 64 << 20;
const RUNS: usize = 3;
/// Connections at once, which share the bytes.
const MANY: usize = 64;
const CONNECTIONS: usize = 10_000;

/// The image that has nothing but the server.
const SERVER: &str = "bench/server";

struct Ports {
    sink: u16,
    source: u16,
    echo: u16,
}

pub(crate) fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    import_server(engine)?;
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
        SERVER,
        "/server",
    ])?;
    // QEMU forwards to the guest's own address, so its server is on that network.
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "host-server",
        "--net",
        "host",
        SERVER,
        "/server",
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
    let out = |port| repeated(|| receive(port, BYTES));
    let into_many = |port| repeated(|| at_once(|| send(port, BYTES / MANY)));
    let out_many = |port| repeated(|| at_once(|| receive(port, BYTES / MANY)));
    // QEMU's forwarding resets some of many connections, which start again.
    let into_many_theirs = || repeated(|| at_once(|| again(|| send(theirs.sink, BYTES / MANY))));
    let out_many_theirs =
        || repeated(|| at_once(|| again(|| receive(theirs.source, BYTES / MANY))));
    let at_least = || ("at least 3 times", Bound::RatioAtLeast(3.0));
    let figures = vec![
        Figure::new(
            "port_round_trip",
            (round_trip(ours.echo)? * 1e3, "ms"),
            ("QEMU's hostfwd", Some(round_trip(theirs.echo)? * 1e3)),
            ("none", Bound::ValueAtMost(f64::INFINITY)),
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
            (into_many(ours.sink)?, "MB/s"),
            ("QEMU's hostfwd", Some(into_many_theirs()?)),
            at_least(),
        ),
        Figure::new(
            "port_out_64",
            (out_many(ours.source)?, "MB/s"),
            ("QEMU's hostfwd", Some(out_many_theirs()?)),
            at_least(),
        ),
        short_connections(short)?,
    ];
    engine.succeed(&["rm", "-f", "server", "host-server"])?;
    Ok(figures)
}

/// Compiles the server and makes an image of it.
fn import_server(engine: &Engine) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("server");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/server.rs");
    let status = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
        ])
        .args([Path::new("-o"), &program, &source])
        .status()?;
    ensure!(status.success(), "{} does not compile", source.display());
    let mut root = tar::Builder::new(Vec::new());
    archive::append(&mut root, "server", &std::fs::read(program)?, 0o755)?;
    let ran = engine.run_with_input(&["import", "-", SERVER], &root.into_inner()?)?;
    ensure!(ran.code == 0, "import failed: {ran:?}");
    Ok(())
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

/// Repeats what fails, ten times at most.
fn again(action: impl Fn() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    (0..10)
        .map(|_| action())
        .find(Result::is_ok)
        .unwrap_or_else(&action)
}

/// Runs an action on many threads at once, and returns MB/s of all together.
fn at_once(action: impl Fn() -> anyhow::Result<f64> + Sync) -> anyhow::Result<f64> {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..MANY).map(|_| scope.spawn(&action)).collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(BYTES as f64 / begun.elapsed().as_secs_f64() / 1e6)
}

/// Asks for bytes and returns MB/s.
fn receive(port: u16, length: usize) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut stream = net::connect(port)?;
    stream.write_all(&(length as u64).to_le_bytes())?;
    let mut buffer = vec![0; 256 << 10];
    let mut received = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            count => received += count,
        }
    }
    ensure!(received == length, "{received} bytes of {length} came");
    Ok(length as f64 / begun.elapsed().as_secs_f64() / 1e6)
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
