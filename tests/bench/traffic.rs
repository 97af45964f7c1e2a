//! Load of real programs on published ports, beside QEMU's own forwarding: wrk
//! against nginx, and iperf3.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use wherry_tests::{Engine, net, wait};

use crate::control::Control;
use crate::figure::{Bound, Figure, median};

const IMAGE: &str = "bench/load";

/// nginx's port in the container, and iperf3's.
const HTTP: u16 = 8089;
const IPERF: u16 = 5201;

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
iperf3 -s -D
exec nginx -g 'daemon off;'";

pub(crate) fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    let root = std::env::var("WHERRY_LOAD_ROOT").context("run this by `cargo xtask bench`")?;
    engine.succeed(&["import", &root, IMAGE])?;
    let ours = (net::free_port()?, net::free_port()?);
    let theirs = (net::free_port()?, net::free_port()?);
    let run = ["busybox", "sh", "-c", SERVE];
    let ports = [
        format!("{}:{HTTP}", ours.0),
        format!("{}:{IPERF}", ours.1),
        format!("{}:{IPERF}/udp", ours.1),
    ];
    let [http, iperf, datagrams] = ports.each_ref().map(String::as_str);
    let options = [
        "run", "-d", "--name", "load", "-p", http, "-p", iperf, "-p", datagrams, IMAGE,
    ];
    engine.succeed(&[&options[..], &run].concat())?;
    // QEMU forwards to the guest's own address, so its servers are on that network.
    let options = ["run", "-d", "--name", "host-load", "--net", "host", IMAGE];
    engine.succeed(&[&options[..], &run].concat())?;
    let mut control = Control::connect(engine)?;
    for (protocol, host, guest) in [
        ("tcp", theirs.0, HTTP),
        ("tcp", theirs.1, IPERF),
        ("udp", theirs.1, IPERF),
    ] {
        control.forward(protocol, host, guest)?;
    }
    for port in [ours.0, theirs.0] {
        wait::until("nginx", Duration::from_secs(60), || {
            let reply = net::request(port, b"GET / HTTP/1.0\r\n\r\n").unwrap_or_default();
            Ok(reply.ends_with(b"API"))
        })?;
    }
    let mut figures = Vec::new();
    for (name, connections) in [("http_1", "1"), ("http_64", "64")] {
        let rate = |port| repeated(|| wrk(port, connections));
        figures.push(beside(
            name,
            "requests/s",
            (rate(ours.0)?, rate(theirs.0)),
            3.0,
        ));
    }
    for (name, options) in [
        ("iperf_in", &[][..]),
        ("iperf_out", &["-R"]),
        ("iperf_udp_in", &["-u", "-b", "0", "-l", "1400"]),
    ] {
        let rate = |port| repeated(|| iperf3(port, options));
        figures.push(beside(name, "MB/s", (rate(ours.1)?, rate(theirs.1)), 3.0));
    }
    engine.succeed(&["rm", "-f", "load", "host-load"])?;
    Ok(figures)
}

fn beside(
    name: &'static str,
    unit: &'static str,
    (ours, theirs): (f64, anyhow::Result<f64>),
    least: f64,
) -> Figure {
    // QEMU's forwarding resets some of many connections, and loses datagrams that
    // iperf3 waits for.
    let theirs = theirs.inspect_err(|error| eprintln!("{name} by QEMU's hostfwd: {error:#}"));
    Figure::new(
        name,
        (ours, unit),
        ("QEMU's hostfwd", theirs.ok()),
        ("at least 3 times", Bound::RatioAtLeast(least)),
    )
}

fn repeated(mut action: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let values = (0..RUNS).map(|_| action()).collect::<Result<_, _>>()?;
    Ok(median(values))
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
    let output = Command::new("iperf3")
        .args([
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
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let end = &report["end"];
    let sum = ["sum_received", "sum"]
        .iter()
        .find_map(|name| end[*name].as_object());
    let sum = sum.with_context(|| format!("iperf3 says {report}"))?;
    let rate = sum["bits_per_second"].as_f64().unwrap_or(0.0);
    // Of datagrams the sum is what was sent.
    let lost = sum
        .get("lost_percent")
        .and_then(serde_json::Value::as_f64)
        .unwrap_or(0.0);
    Ok(rate / 8e6 * (1.0 - lost / 100.0))
}
