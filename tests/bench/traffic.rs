//! Load of real programs on published ports, beside QEMU's own forwarding: wrk
//! against nginx, and iperf3.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use wherry_tests::{Engine, net, wait};

use crate::control::Control;
use crate::figure::{Bound, Figure, in_turn};

const IMAGE: &str = "bench/load";

/// The containers on a bridge and on the guest's own network.
const OURS: &str = "load";
const THEIRS: &str = "host-load";

/// The host, as QEMU's user-mode network calls it.
const HOST: &str = "10.0.2.2";

/// nginx's port in the container, and iperf3's. There is a server for each run: what
/// is left of a flood of datagrams when a run has ended would be taken by the same
/// server for the beginning of the next one, which then waits for an answer in vain
/// ("Resource temporarily unavailable").
const HTTP: u16 = 8089;
const IPERF: [u16; RUNS] = [5201, 5202, 5203];

/// Seconds of one measurement.
const SECONDS: &str = "3";
const RUNS: usize = 3;

const SERVE: &str = "
mkdir -p /tmp /run /var/log/nginx /var/lib/nginx
echo root:x:0:0::/:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
cat >/etc/nginx/nginx.conf <<END
user root;
worker_processes 2;
error_log stderr;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 1000000;
    server { listen 8089; location / { return 200 \"a page that is as long as a small answer of an API\"; } }
}
END
for port in 5201 5202 5203; do iperf3 -s -D -p $port; done
exec nginx -g 'daemon off;'";

pub(crate) fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    let root = std::env::var("WHERRY_LOAD_ROOT").context("run this by `cargo xtask bench`")?;
    engine.succeed(&["import", &root, IMAGE])?;
    let ours = Ports::choose()?;
    let theirs = Ports::choose()?;
    let run = ["busybox", "sh", "-c", SERVE];
    let mut publish = vec![format!("{}:{HTTP}", ours.http)];
    for (host, guest) in ours.iperf.iter().zip(IPERF) {
        publish.push(format!("{host}:{guest}"));
        publish.push(format!("{host}:{guest}/udp"));
    }
    let mut options = vec!["run", "-d", "--name", OURS];
    options.extend(publish.iter().flat_map(|port| ["-p", port]));
    options.push(IMAGE);
    engine.succeed(&[&options[..], &run].concat())?;
    // QEMU forwards to the guest's own address, so its servers are on that network.
    let options = ["run", "-d", "--name", THEIRS, "--net", "host", IMAGE];
    engine.succeed(&[&options[..], &run].concat())?;
    let mut control = Control::connect(engine)?;
    control.forward("tcp", theirs.http, HTTP)?;
    for (host, guest) in theirs.iperf.into_iter().zip(IPERF) {
        control.forward("tcp", host, guest)?;
        control.forward("udp", host, guest)?;
    }
    for port in [ours.http, theirs.http] {
        wait::until("nginx", Duration::from_secs(60), || {
            let reply = net::request(port, b"GET / HTTP/1.0\r\n\r\n").unwrap_or_default();
            Ok(reply.ends_with(b"API"))
        })?;
    }
    let mut figures = Vec::new();
    for (name, connections) in [("http_1", "1"), ("http_64", "64")] {
        let rate = |port| move |_| wrk(port, connections);
        let rates = in_turn(RUNS, rate(ours.http), rate(theirs.http))?;
        figures.push(beside(name, "requests/s", rates));
    }
    for (name, options) in [
        ("iperf_in", &[][..]),
        ("iperf_in_64", &["-P", "64"]),
        ("iperf_out", &["-R"]),
        ("iperf_out_64", &["-R", "-P", "64"]),
        ("iperf_udp_in", &["-u", "-b", "0", "-l", "1400"]),
        ("iperf_udp_out", &["-R", "-u", "-b", "0", "-l", "1400"]),
    ] {
        let rate = |container: &'static str, ports: [u16; RUNS]| {
            move |run: usize| {
                ready(engine, container, IPERF[run])?;
                iperf3(ports[run], options)
            }
        };
        let rates = in_turn(RUNS, rate(OURS, ours.iperf), rate(THEIRS, theirs.iperf))?;
        figures.push(beside(name, "MB/s", rates));
    }
    figures.push(to_host(engine)?);
    engine.succeed(&["rm", "-f", OURS, THEIRS])?;
    Ok(figures)
}

/// The host's ports.
struct Ports {
    http: u16,
    iperf: [u16; RUNS],
}

impl Ports {
    fn choose() -> anyhow::Result<Self> {
        let mut iperf = [0; RUNS];
        for port in &mut iperf {
            *port = net::free_port()?;
        }
        Ok(Self {
            http: net::free_port()?,
            iperf,
        })
    }
}

/// Waits until a server listens: between two runs it closes its port for a moment.
fn ready(engine: &Engine, container: &str, port: u16) -> anyhow::Result<()> {
    wait::until("iperf3", Duration::from_secs(30), || {
        let listening = ["exec", container, "busybox", "netstat", "-ltn"];
        Ok(engine.succeed(&listening)?.contains(&format!(":::{port} ")))
    })
}

/// Measures from containers towards a server on the host's loopback, beside one in
/// the guest's own network, which is QEMU's user-mode one.
fn to_host(engine: &Engine) -> anyhow::Result<Figure> {
    let port = net::free_port()?.to_string();
    let mut server = Command::new("iperf3")
        .args(["-s", "-B", "127.0.0.1", "-p", &port])
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run iperf3")?;
    let client = ["iperf3", "-c", HOST, "-J", "-t", SECONDS, "-p", &port];
    let rate = |container: &'static str| {
        move |_| {
            let exec = [&["exec", container][..], &client].concat();
            // Its port is closed for a moment between two runs.
            let mut printed = String::new();
            wait::until("iperf3 on the host", Duration::from_secs(30), || {
                let ran = engine.run(&exec)?;
                printed = ran.stdout;
                Ok(ran.code == 0)
            })?;
            received(&serde_json::from_str(&printed)?)
        }
    };
    let rates = in_turn(RUNS, rate(OURS), rate(THEIRS));
    server.kill()?;
    server.wait()?;
    let (ours, theirs) = rates?;
    Ok(Figure::new(
        "iperf_to_host",
        (ours, "MB/s"),
        ("without a bridge", Some(theirs?)),
        ("none", Bound::ValueAtMost(f64::INFINITY)),
    ))
}

fn beside(
    name: &'static str,
    unit: &'static str,
    (ours, theirs): (f64, anyhow::Result<f64>),
) -> Figure {
    // QEMU's forwarding resets some of many connections, and loses datagrams that
    // iperf3 waits for.
    let theirs = theirs.inspect_err(|error| eprintln!("{name} by QEMU's hostfwd: {error:#}"));
    Figure::new(
        name,
        (ours, unit),
        ("QEMU's hostfwd", theirs.ok()),
        ("at least 3 times", Bound::RatioAtLeast(3.0)),
    )
}

/// Returns the requests a second, none of which may fail.
fn wrk(port: u16, connections: &str) -> anyhow::Result<f64> {
    let url = format!("http://127.0.0.1:{port}/");
    let output = Command::new("wrk")
        .args(["-t1", "-c", connections, "-d", SECONDS, &url])
        .output()
        .context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        !text.contains("Socket errors") && !text.contains("Non-2xx"),
        "{text}"
    );
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.with_context(|| format!("wrk says {text}"))?;
    Ok(rate.trim().parse()?)
}

/// Returns what arrived, MB/s.
fn iperf3(port: u16, options: &[&str]) -> anyhow::Result<f64> {
    // One whose first datagrams are lost waits for ever.
    let output = Command::new("timeout")
        .args([
            "60",
            "iperf3",
            "-c",
            "127.0.0.1",
            "-J",
            "-t",
            SECONDS,
            "-p",
            &port.to_string(),
        ])
        .args(options)
        .output()
        .context("cannot run iperf3")?;
    received(&serde_json::from_slice(&output.stdout)?)
}

/// Reads what arrived out of iperf3's report, MB/s.
fn received(report: &serde_json::Value) -> anyhow::Result<f64> {
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.with_context(|| format!("iperf3 says {report}"))? / 8e6)
}
