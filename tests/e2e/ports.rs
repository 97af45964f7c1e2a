//! Published ports.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use anyhow::ensure;
use wherry_tests::{Engine, IMAGE, net, process, server, wait};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("a_web_server_answers_on_the_hosts_port", web_server),
    ("a_request_ended_early_gets_its_whole_reply", half_close),
    ("both_directions_carry_megabytes_at_once", both_directions),
    ("a_reset_in_the_container_is_one_for_the_client", resets),
    ("a_taken_port_fails_the_start_by_name", taken),
    ("a_port_closes_when_the_container_stops", closes),
    ("a_port_that_is_left_out_is_chosen", chosen),
    ("thousands_of_connections_leak_no_descriptor", no_leak),
    ("a_download_survives_the_death_of_wherryd", survives_wherryd),
];

/// Starts a container whose port 80 is served by `nc` running a program.
fn serve(engine: &Engine, name: &str, port: u16, program: &str) -> anyhow::Result<()> {
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        name,
        "-p",
        &format!("{port}:80"),
        IMAGE,
        "nc",
        "-ll",
        "-p",
        "80",
        "-e",
        "sh",
        "-c",
        program,
    ])?;
    wait::until("the server", Duration::from_secs(20), || {
        let listening = engine.succeed(&["exec", name, "netstat", "-ltn"])?;
        Ok(listening.contains(":80 "))
    })
}

fn web_server(engine: &Engine) -> anyhow::Result<()> {
    let port = net::free_port()?;
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        &format!("{port}:80"),
        IMAGE,
        "httpd",
        "-f",
        "-h",
        "/www",
    ])?;
    wait::until("the page", Duration::from_secs(20), || {
        let page = net::request(port, b"GET / HTTP/1.0\r\n\r\n")?;
        Ok(String::from_utf8_lossy(&page).contains("a page of the image"))
    })?;
    engine.succeed(&["rm", "-f", "web"])?;
    Ok(())
}

/// PITFALLS 1.
fn half_close(engine: &Engine) -> anyhow::Result<()> {
    let port = net::free_port()?;
    serve(engine, "counter", port, "cat | wc -c; seq 20000")?;
    let reply = net::request(port, &vec![b'x'; 300_000])?;
    let reply = String::from_utf8_lossy(&reply);
    ensure!(
        reply.starts_with("300000\n") && reply.ends_with("\n20000\n"),
        "{} bytes",
        reply.len()
    );
    engine.succeed(&["rm", "-f", "counter"])?;
    Ok(())
}

/// PITFALLS 2, through everything that a user's bytes pass.
fn both_directions(engine: &Engine) -> anyhow::Result<()> {
    const LENGTH: usize = 32 << 20;
    let port = net::free_port()?;
    serve(engine, "echo", port, "cat")?;
    let sent: Vec<u8> = (0..LENGTH).map(|n| (n / 251 + n) as u8).collect();
    let mut stream = net::connect(port)?;
    let mut writer = stream.try_clone()?;
    let received = std::thread::scope(|scope| -> anyhow::Result<Vec<u8>> {
        let sending = scope.spawn(|| -> std::io::Result<()> {
            let mut rest = &sent[..];
            // Every size of write from one byte up.
            let mut chunk = 1;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(chunk.min(rest.len()));
                writer.write_all(now)?;
                rest = later;
                chunk = if chunk >= 1 << 20 { 1 } else { chunk * 2 + 1 };
            }
            writer.shutdown(Shutdown::Write)
        });
        let mut received = Vec::with_capacity(LENGTH);
        stream.read_to_end(&mut received)?;
        sending
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        Ok(received)
    })?;
    ensure!(
        received.len() == LENGTH,
        "{} bytes came back",
        received.len()
    );
    ensure!(received == sent, "other bytes came back");
    engine.succeed(&["rm", "-f", "echo"])?;
    Ok(())
}

fn resets(engine: &Engine) -> anyhow::Result<()> {
    server::import(engine)?;
    let ports = [net::free_port()?, net::free_port()?, net::free_port()?];
    let [echo, reset, nobody] = ports;
    let publish = [
        format!("{echo}:5003"),
        format!("{reset}:5007"),
        format!("{nobody}:9"),
    ];
    let mut run = vec!["run", "-d", "--name", "resets"];
    run.extend(publish.iter().flat_map(|port| ["-p", port]));
    run.extend([server::IMAGE, "/server"]);
    engine.succeed(&run)?;
    wait::until("the server", Duration::from_secs(20), || {
        Ok(net::request(echo, b"x")? == b"x")
    })?;
    for port in [reset, nobody] {
        let mut stream = net::connect(port)?;
        // Where nobody listens that may be known before.
        let _ = stream.write_all(b"xy");
        let ended = stream.read(&mut [0]);
        ensure!(
            matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset),
            "port {port}: {ended:?}"
        );
    }
    engine.succeed(&["rm", "-f", "resets"])?;
    Ok(())
}

fn taken(engine: &Engine) -> anyhow::Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let error = engine.fail(
        125,
        &["run", "--rm", "-p", &format!("{port}:80"), IMAGE, "true"],
    )?;
    ensure!(
        error.contains(&port.to_string()) && error.contains("taken"),
        "{error}"
    );
    let left = engine.succeed(&["ps", "-aq", "--filter", "status=created"])?;
    ensure!(left.is_empty(), "debris: {left}");
    Ok(())
}

fn closes(engine: &Engine) -> anyhow::Result<()> {
    let port = net::free_port()?;
    serve(engine, "brief", port, "echo hi")?;
    ensure!(net::request(port, b"")? == b"hi\n");
    let ends = [&["stop", "-t", "0"][..], &["kill"], &["rm", "-f"]];
    for (number, end) in ends.iter().enumerate() {
        engine.succeed(&[end, &["brief"][..]].concat())?;
        ensure!(net::connect(port).is_err(), "open after {end:?}");
        if number + 1 < ends.len() {
            engine.succeed(&["start", "brief"])?;
            wait::until("the open port", Duration::from_secs(20), || {
                Ok(net::request(port, b"")? == b"hi\n")
            })?;
        }
    }
    // It is free for the next, who ended by itself too.
    for _ in 0..5 {
        let publish = format!("{port}:80");
        engine.succeed(&["run", "--rm", "-p", &publish, IMAGE, "true"])?;
    }
    Ok(())
}

fn chosen(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&[
        "run", "-d", "--name", "chosen", "-p", "80", IMAGE, "nc", "-ll", "-p", "80", "-e", "echo",
        "hi",
    ])?;
    let port = engine.succeed(&["ps", "--filter", "name=chosen", "--format", "{{.Ports}}"])?;
    let port: u16 = port
        .split("->")
        .next()
        .and_then(|left| left.rsplit(':').next())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| anyhow::anyhow!("no port in {port:?}"))?;
    wait::until("the answer", Duration::from_secs(20), || {
        Ok(net::request(port, b"")? == b"hi\n")
    })?;
    engine.succeed(&["rm", "-f", "chosen"])?;
    Ok(())
}

/// PITFALLS 5, of the machine process.
fn no_leak(engine: &Engine) -> anyhow::Result<()> {
    const CONNECTIONS: usize = 10_000;
    let port = net::free_port()?;
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "many",
        "-p",
        &format!("{port}:80"),
        IMAGE,
        "nc",
        "-ll",
        "-p",
        "80",
        "-e",
        "true",
    ])?;
    wait::until("the server", Duration::from_secs(20), || {
        Ok(engine
            .succeed(&["exec", "many", "netstat", "-ltn"])?
            .contains(":80 "))
    })?;
    let machine = u32::try_from(engine.status_number("Pid")?)?;
    let before = process::descriptors(machine)?;
    for n in 0..CONNECTIONS {
        net::request(port, b"").map_err(|error| anyhow::anyhow!("connection {n}: {error}"))?;
    }
    wait::until("the descriptors' return", Duration::from_secs(20), || {
        Ok(process::descriptors(machine)? <= before + 2)
    })?;
    engine.succeed(&["rm", "-f", "many"])?;
    Ok(())
}

fn survives_wherryd(engine: &Engine) -> anyhow::Result<()> {
    let port = net::free_port()?;
    serve(
        engine,
        "download",
        port,
        "for i in $(seq 60); do head -c 1000000 /dev/zero; sleep 0.02; done",
    )?;
    let mut stream = net::connect(port)?;
    let mut received = vec![0; 1_000_000];
    stream.read_exact(&mut received)?;
    let wherryd = engine.wherryd()?;
    process::kill(wherryd)?;
    wait::until("the end of wherryd", Duration::from_secs(5), || {
        Ok(!process::runs(wherryd))
    })?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    ensure!(
        received.len() + rest.len() == 60_000_000,
        "{} bytes",
        received.len() + rest.len()
    );
    // The next command brings a new wherryd, which adopts the machine.
    let running = engine.succeed(&["ps", "-q", "--filter", "name=download"])?;
    ensure!(!running.is_empty());
    ensure!(engine.wherryd()? != wherryd);
    engine.succeed(&["rm", "-f", "download"])?;
    wait::until("the closed port", Duration::from_secs(10), || {
        Ok(net::connect(port).is_err())
    })
}
