//! Published ports, beside QEMU's own port forwarding into the same VM and to
//! the same server.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::ensure;
use wherry_tests::{Engine, net, server, wait};

use crate::control::Control;
use crate::figure::{Bound, Figure, in_turn, median};

const BYTES: usize = 64 << 20;
const RUNS: usize = 3;
/// Connections at once, which share the bytes.
const MANY: usize = 64;
const CONNECTIONS: usize = 10_000;

struct Ports {
    sink: u16,
    source: u16,
    echo: u16,
}

pub(crate) fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    server::import(engine)?;
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
        server::IMAGE,
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
        server::IMAGE,
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
        control.forward("tcp", host, guest)?;
    }
    for port in [&ours, &theirs].map(|ports| ports.echo) {
        wait::until("the server", Duration::from_secs(30), || {
            Ok(net::request(port, b"x").is_ok_and(|reply| reply == b"x"))
        })?;
    }

    // QEMU's forwarding resets some of many connections, which start again.
    let into = |port| move |_| send(port, BYTES);
    let out = |port| move |_| receive(port, BYTES);
    let into_many = |port| move |_| at_once(|| again(|| send(port, BYTES / MANY)));
    let out_many = |port| move |_| at_once(|| again(|| receive(port, BYTES / MANY)));
    let beside = |name, (ours, theirs): (f64, anyhow::Result<f64>)| {
        let target = ("at least 3 times", Bound::RatioAtLeast(3.0));
        let theirs = theirs.inspect_err(|error| eprintln!("{name} by QEMU's hostfwd: {error:#}"));
        Figure::new(
            name,
            (ours, "MB/s"),
            ("QEMU's hostfwd", theirs.ok()),
            target,
        )
    };
    let figures = vec![
        Figure::new(
            "port_round_trip",
            (round_trip(ours.echo)? * 1e3, "ms"),
            ("QEMU's hostfwd", Some(round_trip(theirs.echo)? * 1e3)),
            ("none", Bound::ValueAtMost(f64::INFINITY)),
        ),
        beside(
            "port_in",
            in_turn(RUNS, into(ours.sink), into(theirs.sink))?,
        ),
        beside(
            "port_out",
            in_turn(RUNS, out(ours.source), out(theirs.source))?,
        ),
        beside(
            "port_in_64",
            in_turn(
                RUNS,
                |_| at_once(|| send(ours.sink, BYTES / MANY)),
                into_many(theirs.sink),
            )?,
        ),
        beside(
            "port_out_64",
            in_turn(
                RUNS,
                |_| at_once(|| receive(ours.source, BYTES / MANY)),
                out_many(theirs.source),
            )?,
        ),
        short_connections(short)?,
    ];
    engine.succeed(&["rm", "-f", "server", "host-server"])?;
    Ok(figures)
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
