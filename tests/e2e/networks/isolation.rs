//! What networks keep apart, and that their rules stay while the agent does not.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, wait};

use super::{LONG, address, answers, in_machine, lookup, reaches, remove, rests};

pub(super) fn bridges(engine: &Engine) -> anyhow::Result<()> {
    for network in ["left", "right"] {
        engine.succeed(&["network", "create", "--ipv6", network])?;
    }
    answers(engine, "lefty", &["--net", "left"])?;
    rests(engine, "beside", &["--net", "left"])?;
    rests(engine, "across", &["--net", "right"])?;
    rests(engine, "outside", &[])?;
    for field in ["IPAddress", "GlobalIPv6Address"] {
        let server = address(engine, "lefty", "left", field)?;
        let said = reaches(engine, "beside", &server, 80)?;
        ensure!(said.as_deref() == Some("lefty"), "{server}: {said:?}");
        for stranger in ["across", "outside"] {
            let said = reaches(engine, stranger, &server, 80)?;
            ensure!(said.is_none(), "{stranger} reaches {server}: {said:?}");
            let ping = engine.run(&["exec", stranger, "ping", "-c1", "-W2", &server])?;
            ensure!(ping.code != 0, "{stranger} reaches {server}: {ping:?}");
        }
    }
    ensure!(lookup(engine, "across", "lefty")?.is_empty());
    // Whoever is on both passes nothing on between them.
    rests(engine, "between", &["--net", "left"])?;
    engine.succeed(&["network", "connect", "right", "between"])?;
    let server = address(engine, "lefty", "left", "IPAddress")?;
    ensure!(reaches(engine, "between", &server, 80)?.is_some());
    ensure!(reaches(engine, "across", &server, 80)?.is_none());
    let containers = ["lefty", "beside", "across", "outside", "between"];
    remove(engine, &containers, &["left", "right"])
}

pub(super) fn internal(engine: &Engine) -> anyhow::Result<()> {
    let port = service_of_the_host()?;
    engine.succeed(&["network", "create", "--internal", "vault"])?;
    engine.succeed(&["network", "create", "open"])?;
    answers(engine, "treasure", &["--net", "vault"])?;
    rests(engine, "guard", &["--net", "vault"])?;
    answers(engine, "passer", &["--net", "open"])?;
    let treasure = address(engine, "treasure", "vault", "IPAddress")?;
    let passer = address(engine, "passer", "open", "IPAddress")?;
    let host = &lookup(engine, "passer", "host.docker.internal")?[0];
    // Inside it all works, and from elsewhere so does the way out.
    let inside = reaches(engine, "guard", &treasure, 80)?;
    ensure!(inside.as_deref() == Some("treasure"), "{inside:?}");
    ensure!(lookup(engine, "guard", "treasure")? == std::slice::from_ref(&treasure));
    ensure!(reaches(engine, "passer", host, port)?.is_some());

    ensure!(reaches(engine, "guard", host, port)?.is_none());
    ensure!(reaches(engine, "guard", &passer, 80)?.is_none());
    ensure!(reaches(engine, "passer", &treasure, 80)?.is_none());
    // Nor by a route of its own through the bridge, which is the machine's.
    let gateway = treasure
        .rsplit_once('.')
        .with_context(|| treasure.clone())?
        .0
        .to_owned()
        + ".1";
    let capable = ["--net", "vault", "--cap-add", "NET_ADMIN"];
    rests(engine, "burglar", &capable)?;
    let route = ["exec", "burglar", "ip", "route", "add", "default", "via"];
    engine.succeed(&[&route[..], &[&gateway]].concat())?;
    for (address, port) in [(host, port), (&passer, 80)] {
        let said = reaches(engine, "burglar", address, port)?;
        ensure!(said.is_none(), "out to {address}: {said:?}");
    }
    // Names are asked of nobody outside: a query is a way out too.
    let ran = engine.run(&["exec", "guard", "nslookup", "a.secret.example.com"])?;
    ensure!(ran.code != 0, "{ran:?}");
    let containers = ["treasure", "guard", "passer", "burglar"];
    remove(engine, &containers, &["vault", "open"])
}

/// Says hello on the host's loopback for as long as the tests run.
fn service_of_the_host() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hello\n");
        }
    });
    Ok(port)
}

/// Two containers try without pause while the agent is killed and comes again:
/// one what it may, the other what it may not.
pub(super) fn rules(engine: &Engine) -> anyhow::Result<()> {
    for network in ["kept", "apart"] {
        engine.succeed(&["network", "create", network])?;
    }
    answers(engine, "keeper", &["--net", "kept"])?;
    let server = address(engine, "keeper", "kept", "IPAddress")?;
    let trying = format!(
        "while :; do if nc -w 2 {server} 80 </dev/null; then echo reached; else echo failed; fi; \
         usleep 100000; done"
    );
    let try_from = |name: &str, network: &str| {
        engine.succeed(&[
            "run", "-d", "--name", name, "--net", network, IMAGE, "sh", "-c", &trying,
        ])
    };
    try_from("friend", "kept")?;
    try_from("stranger", "apart")?;
    let reached = |name: &str| -> anyhow::Result<usize> {
        Ok(engine.succeed(&["logs", name])?.matches("reached").count())
    };
    let failed = |name: &str| -> anyhow::Result<usize> {
        Ok(engine.succeed(&["logs", name])?.matches("failed").count())
    };
    wait::until("attempts", LONG, || {
        Ok(reached("friend")? > 0 && failed("stranger")? > 0)
    })?;
    let before = ruleset(engine)?;
    let id = engine.succeed(&["network", "inspect", "-f", "{{.Id}}", "kept"])?;
    let table = format!("table inet wherry-{}", &id[..12]);
    let own = own_table(&before, &table)?;

    // No other network's coming and going touches it: its handles stay.
    engine.succeed(&["network", "create", "passing"])?;
    engine.succeed(&["run", "--rm", "--net", "passing", IMAGE, "true"])?;
    ensure!(own_table(&ruleset(engine)?, &table)? == own, "touched");
    engine.succeed(&["network", "rm", "passing"])?;
    ensure!(own_table(&ruleset(engine)?, &table)? == own, "touched");

    let (friends, strangers) = (reached("friend")?, failed("stranger")?);
    in_machine_for_its_end(engine)?;
    wait::until("attempts after the agent's death", LONG, || {
        Ok(reached("friend")? > friends + 5 && failed("stranger")? > strangers + 2)
    })?;
    ensure!(failed("friend")? == 0 && reached("stranger")? == 0);
    let after = ruleset(engine)?;
    ensure!(
        without_handles(&before) == without_handles(&after),
        "{before}\n became \n{after}"
    );
    remove(
        engine,
        &["keeper", "friend", "stranger"],
        &["kept", "apart"],
    )
}

/// Kills the agent, and with it the command that does so.
fn in_machine_for_its_end(engine: &Engine) -> anyhow::Result<()> {
    let run = ["run", "--rm", "--privileged", "--pid", "host", IMAGE];
    let kill = ["sh", "-c", "kill -9 $(pgrep -f 'wherry-agent serve')"];
    engine.run(&[&run[..], &kill].concat())?;
    Ok(())
}

fn ruleset(engine: &Engine) -> anyhow::Result<String> {
    in_machine(engine, "nsenter -t 1 -m /usr/sbin/nft -a list ruleset")
}

/// Returns one table out of a ruleset.
fn own_table(ruleset: &str, table: &str) -> anyhow::Result<String> {
    let begin = ruleset
        .find(table)
        .with_context(|| format!("no {table} in {ruleset}"))?;
    let end = ruleset[begin..]
        .find("\n}")
        .context("no end of the table")?;
    Ok(ruleset[begin..begin + end].to_owned())
}

/// Returns the tables in any order, without the kernel's numbers.
fn without_handles(ruleset: &str) -> Vec<String> {
    let mut tables: Vec<_> = ruleset
        .split("\n}")
        .map(|table| {
            let lines = table
                .lines()
                .map(|line| match line.split_once(" # handle") {
                    Some((line, _)) => line,
                    None => line,
                });
            lines.collect::<Vec<_>>().join("\n").trim().to_owned()
        })
        .collect();
    tables.sort();
    tables
}
