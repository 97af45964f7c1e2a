//! Two hundred networks, and as many containers on one as are asked for.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE};

use super::{address, answers, in_machine, lookup, reaches, rests};

const NETWORKS: usize = 200;

/// How many containers there are by default; emulation takes its time for each.
const CONTAINERS: usize = 40;

/// How many commands run at once.
const AT_ONCE: usize = 8;

/// The networks that the container `hub` is on, which have a bridge each.
const CONNECTED: usize = 40;

pub(super) fn many() -> anyhow::Result<()> {
    let containers = match std::env::var("WHERRY_TEST_CONTAINERS") {
        Ok(number) => number
            .parse()
            .context("WHERRY_TEST_CONTAINERS is no number")?,
        Err(_) => CONTAINERS,
    };
    let engine = Engine::new()?;
    if containers > 200 {
        std::fs::write(engine.home().join("config.toml"), "memory = \"4GiB\"\n")?;
    }
    engine.succeed(&["machine", "start"])?;
    engine.load_image()?;
    networks(&engine)?;
    on_one(&engine, containers)
}

fn networks(engine: &Engine) -> anyhow::Result<()> {
    let begun = Instant::now();
    for number in 0..NETWORKS {
        engine.succeed(&["network", "create", &format!("net-{number}")])?;
    }
    eprintln!("{NETWORKS} networks made in {:.1?}", begun.elapsed());
    let names: Vec<_> = (0..NETWORKS)
        .map(|number| format!("net-{number}"))
        .collect();
    let mut inspect = vec!["network", "inspect"];
    inspect.extend(names.iter().map(String::as_str));
    let printed = engine.succeed(&inspect)?;
    let shown: Vec<serde_json::Value> = serde_json::from_str(&printed)?;
    let subnets = shown
        .iter()
        .map(|network| range(network["IPAM"]["Config"][0]["Subnet"].as_str()?));
    let mut ranges = subnets
        .collect::<Option<Vec<_>>>()
        .with_context(|| printed.clone())?;
    ranges.sort_unstable();
    ensure!(ranges.len() == NETWORKS, "{printed}");
    ensure!(
        ranges.windows(2).all(|pair| pair[0].1 < pair[1].0),
        "overlapping: {printed}"
    );

    rests(engine, "hub", &["--net", "net-0"])?;
    let begun = Instant::now();
    for name in &names[1..CONNECTED] {
        engine.succeed(&["network", "connect", name, "hub"])?;
    }
    eprintln!(
        "{CONNECTED} networks for one container in {:.1?}",
        begun.elapsed()
    );
    // Of the last as of the first; and 200 in one command go again.
    for name in [&names[1], &names[CONNECTED - 1]] {
        let server = format!("on-{name}");
        answers(engine, &server, &["--net", name])?;
        let address = address(engine, &server, name, "IPAddress")?;
        ensure!(lookup(engine, "hub", &server)? == std::slice::from_ref(&address));
        ensure!(reaches(engine, "hub", &address, 80)?.as_deref() == Some(server.as_str()));
        engine.succeed(&["rm", "-f", &server])?;
    }
    engine.succeed(&["rm", "-f", "hub"])?;
    let begun = Instant::now();
    let mut rm = vec!["network", "rm"];
    rm.extend(names.iter().map(String::as_str));
    engine.succeed(&rm)?;
    eprintln!("{NETWORKS} networks removed in {:.1?}", begun.elapsed());
    let left = in_machine(engine, "ls /sys/class/net")?;
    ensure!(!left.contains("br-"), "bridges are left: {left}");
    Ok(())
}

/// Returns the first and the last address of a subnet.
fn range(subnet: &str) -> Option<(u32, u32)> {
    let (network, length) = subnet.split_once('/')?;
    let first = u32::from(network.parse::<Ipv4Addr>().ok()?);
    let mask = u32::MAX.checked_shr(length.parse().ok()?).unwrap_or(0);
    Some((first, first | mask))
}

fn on_one(engine: &Engine, containers: usize) -> anyhow::Result<()> {
    engine.succeed(&["network", "create", "--subnet", "10.30.0.0/22", "crowd"])?;
    let begun = Instant::now();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let start = || -> anyhow::Result<()> {
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number >= containers {
                    return Ok(());
                }
                let name = format!("one-{number}");
                let run = ["run", "-d", "--name", &name, "--net", "crowd", IMAGE];
                engine
                    .succeed(&[&run[..], &["nc", "-ll", "-p", "80", "-e", "hostname"]].concat())?;
            }
        };
        let starting: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(start)).collect();
        for thread in starting {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a starting thread panicked"))??;
        }
        Ok(())
    })?;
    let elapsed = begun.elapsed();
    eprintln!(
        "{containers} containers on one network in {elapsed:.1?}, {:.0} ms each",
        elapsed.as_secs_f64() * 1e3 / containers as f64
    );
    let running = engine.succeed(&["ps", "-q", "--filter", "network=crowd"])?;
    ensure!(running.lines().count() == containers, "{running}");
    let printed = engine.succeed(&["network", "inspect", "crowd"])?;
    let shown: serde_json::Value = serde_json::from_str(&printed)?;
    let members = shown[0]["Containers"].as_object();
    let addresses: HashSet<_> = members
        .with_context(|| printed.clone())?
        .values()
        .filter_map(|member| member["IPv4Address"].as_str())
        .collect();
    ensure!(addresses.len() == containers, "{addresses:?}");
    let last = format!("one-{}", containers - 1);
    for name in ["one-1", &last] {
        let address = address(engine, name, "crowd", "IPAddress")?;
        ensure!(lookup(engine, "one-0", name)? == std::slice::from_ref(&address));
        ensure!(reaches(engine, "one-0", &address, 80)?.is_some(), "{name}");
    }
    let memory = in_machine(engine, "free -m | head -n 2")?;
    eprintln!("{memory}");
    Ok(())
}
