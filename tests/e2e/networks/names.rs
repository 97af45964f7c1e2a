//! Names of containers and of the host.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::ensure;
use wherry_tests::Engine;

use super::{address, lookup, reaches, remove, rests};

/// Each change is asked for once: it is seen at once or the test fails.
pub(super) fn both_ways(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&["network", "create", "--ipv6", "names"])?;
    rests(
        engine,
        "db",
        &["--net", "names", "--network-alias", "store", "-h", "vault"],
    )?;
    rests(engine, "asker", &["--net", "names"])?;
    let four = address(engine, "db", "names", "IPAddress")?;
    let six = address(engine, "db", "names", "GlobalIPv6Address")?;
    let mut both = vec![four.clone(), six.clone()];
    both.sort();
    for name in ["db", "STORE", "vault", "db.names"] {
        let found = lookup(engine, "asker", name)?;
        ensure!(found == both, "{name}: {found:?} and not {both:?}");
    }
    for address in [&four, &six] {
        let answer = engine.succeed(&["exec", "asker", "nslookup", address])?;
        ensure!(answer.contains("name = db.names"), "{answer}");
    }

    engine.succeed(&["rename", "db", "base"])?;
    ensure!(lookup(engine, "asker", "base")? == both);
    ensure!(lookup(engine, "asker", "db")?.is_empty());
    let answer = engine.succeed(&["exec", "asker", "nslookup", &four])?;
    ensure!(answer.contains("name = base.names"), "{answer}");

    // On a second network, and away from the first.
    engine.succeed(&["network", "create", "others"])?;
    let alias = ["network", "connect", "--alias", "cellar", "others", "base"];
    engine.succeed(&alias)?;
    ensure!(lookup(engine, "asker", "cellar")?.is_empty());
    engine.succeed(&["network", "connect", "others", "asker"])?;
    let there = address(engine, "base", "others", "IPAddress")?;
    ensure!(lookup(engine, "asker", "cellar")? == std::slice::from_ref(&there));
    engine.succeed(&["network", "disconnect", "names", "base"])?;
    ensure!(lookup(engine, "asker", "base")? == [there]);
    ensure!(lookup(engine, "asker", "store")?.is_empty());

    // Several of one alias are told all.
    let alias = ["--net", "others", "--network-alias", "cellar"];
    rests(engine, "second", &alias)?;
    ensure!(lookup(engine, "asker", "cellar")?.len() == 2);
    engine.succeed(&["kill", "second"])?;
    engine.succeed(&["wait", "second"])?;
    ensure!(lookup(engine, "asker", "cellar")?.len() == 1);
    engine.succeed(&["rm", "-f", "base"])?;
    ensure!(lookup(engine, "asker", "cellar")?.is_empty());
    remove(engine, &["asker", "second"], &["names", "others"])
}

pub(super) fn host_services(engine: &Engine) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(b"a service of the host\n");
        }
    });
    engine.succeed(&["network", "create", "inland"])?;
    rests(engine, "on-default", &[])?;
    rests(engine, "on-own", &["--net", "inland"])?;
    for container in ["on-default", "on-own"] {
        for name in [
            "host.docker.internal",
            "host.wherry.internal",
            "gateway.docker.internal",
        ] {
            let found = lookup(engine, container, name)?;
            let [host] = found.as_slice() else {
                anyhow::bail!("{container} finds {found:?} for {name}");
            };
            let said = reaches(engine, container, host, port)?;
            ensure!(
                said.as_deref() == Some("a service of the host"),
                "{container}, {name}: {said:?}"
            );
        }
    }
    remove(engine, &["on-default", "on-own"], &["inland"])
}
