//! Networks: what containers on them call each other, what they keep apart, and
//! what becomes of both when containers move and the agent dies.

mod isolation;
mod many;
mod moves;
mod names;
mod resolver;

use std::time::Duration;

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, wait};

use crate::{Alone, Shared};

pub(crate) const TESTS: &[(&str, Shared)] = &[
    (
        "names_and_aliases_resolve_both_ways_and_change_at_once",
        names::both_ways,
    ),
    (
        "the_hosts_names_reach_services_on_its_loopback",
        names::host_services,
    ),
    ("bridges_are_kept_apart", isolation::bridges),
    ("an_internal_network_has_no_way_out", isolation::internal),
    ("rules_survive_the_agents_death", isolation::rules),
    ("a_network_in_use_is_not_removed", moves::in_use),
    ("a_container_moves_under_traffic", moves::under_traffic),
];

pub(crate) const ALONE: &[(&str, Alone)] = &[
    (
        "networks_names_of_others_go_to_the_hosts_resolver_of_now",
        resolver::follows_the_host,
    ),
    ("networks_many_and_many_containers_on_one", many::many),
];

/// How long what runs in the emulated machine may take to be there.
const LONG: Duration = Duration::from_secs(30);

/// Starts a container that answers every connection to its port 80 with its name.
fn answers(engine: &Engine, name: &str, options: &[&str]) -> anyhow::Result<()> {
    let run = ["run", "-d", "--name", name];
    let server = [IMAGE, "nc", "-ll", "-p", "80", "-e", "echo", name];
    engine.succeed(&[&run, options, &server].concat())?;
    wait::until("the server", LONG, || {
        let listening = engine.succeed(&["exec", name, "netstat", "-ltn"])?;
        Ok(listening.contains(":80 "))
    })
}

/// Starts a container that does nothing.
fn rests(engine: &Engine, name: &str, options: &[&str]) -> anyhow::Result<()> {
    let run = ["run", "-d", "--name", name];
    engine.succeed(&[&run, options, &[IMAGE, "sleep", "10000"]].concat())?;
    Ok(())
}

/// Returns a container's address on a network, the `field` of what `inspect` shows.
fn address(engine: &Engine, container: &str, network: &str, field: &str) -> anyhow::Result<String> {
    let printed = engine.succeed(&["inspect", container])?;
    let shown: serde_json::Value = serde_json::from_str(&printed)?;
    let address = shown[0]["NetworkSettings"]["Networks"][network][field].as_str();
    let address = address.with_context(|| format!("no {field} on {network} in {printed}"))?;
    ensure!(
        address.parse::<std::net::IpAddr>().is_ok(),
        "{container} has no {field} on {network}: {address:?}"
    );
    Ok(address.to_owned())
}

/// Returns what a connection from inside a container to a port brings, none where
/// there is none within two seconds.
fn reaches(
    engine: &Engine,
    from: &str,
    address: &str,
    port: u16,
) -> anyhow::Result<Option<String>> {
    let port = port.to_string();
    let ran = engine.run(&["exec", from, "nc", "-w", "2", address, &port])?;
    Ok((ran.code == 0 && !ran.stdout.is_empty()).then(|| ran.stdout.trim().to_owned()))
}

/// Returns the addresses of a name as a container sees it, none where there is no
/// such name.
fn lookup(engine: &Engine, from: &str, name: &str) -> anyhow::Result<Vec<String>> {
    let ran = engine.run(&["exec", from, "nslookup", name])?;
    let said = || format!("{from} asks for {name}: {ran:?}");
    if ran.code != 0 {
        // That a server denies it, and not that none answers.
        ensure!(ran.stdout.contains("NXDOMAIN"), "{}", said());
        return Ok(Vec::new());
    }
    let answer = ran.stdout.split_once("\n\n").with_context(said)?.1;
    let mut addresses: Vec<_> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("Address: "))
        .map(str::to_owned)
        .collect();
    addresses.sort();
    Ok(addresses)
}

/// Runs a script in the machine itself: its processes, its network, its files.
fn in_machine(engine: &Engine, script: &str) -> anyhow::Result<String> {
    let run = [
        "run",
        "--rm",
        "--privileged",
        "--pid",
        "host",
        "--net",
        "host",
    ];
    let ran = engine.run(&[&run[..], &[IMAGE, "sh", "-c", script]].concat())?;
    ensure!(ran.code == 0, "{script}: {ran:?}");
    Ok(ran.stdout)
}

fn remove(engine: &Engine, containers: &[&str], networks: &[&str]) -> anyhow::Result<()> {
    engine.succeed(&[&["rm", "-f"], containers].concat())?;
    engine.succeed(&[&["network", "rm"], networks].concat())?;
    Ok(())
}
