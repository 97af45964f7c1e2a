//! Published ports: many of them, of datagrams, and by themselves.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, net, process, server, wait};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("a_range_of_8192_ports_starts_in_seconds", range),
    ("datagrams_of_any_size_come_back_from_one_source", datagrams),
    (
        "exposed_ports_are_published_where_all_are_asked_for",
        all_exposed,
    ),
    (
        "what_listens_in_the_machines_network_is_on_the_host",
        host_network,
    ),
    ("a_thousand_idle_connections_leave_nothing_behind", idle),
];

/// PITFALLS 12.
fn range(engine: &Engine) -> anyhow::Result<()> {
    const PORTS: u16 = 8192;
    let first = net::free_range(PORTS)?;
    let last = first + (PORTS - 1);
    let begun = Instant::now();
    engine.succeed(&["run", "--rm", IMAGE, "true"])?;
    let without = begun.elapsed();
    let ports = format!("{first}-{last}:{first}-{last}");
    let serve = format!("nc -ll -p {first} -e echo one & exec nc -ll -p {last} -e echo other");
    let begun = Instant::now();
    engine.succeed(&[
        "run", "-d", "--name", "wide", "-p", &ports, IMAGE, "sh", "-c", &serve,
    ])?;
    let elapsed = begun.elapsed();
    eprintln!("8192 ports: {elapsed:?}; a run without any: {without:?}");
    ensure!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    for (port, reply) in [(first, "one\n"), (last, "other\n")] {
        wait::until("the port", Duration::from_secs(20), || {
            Ok(net::request(port, b"").is_ok_and(|got| got == reply.as_bytes()))
        })?;
    }
    let shown = engine.succeed(&["ps", "--filter", "name=wide", "--format", "{{.Ports}}"])?;
    ensure!(
        shown.contains(&format!("127.0.0.1:{first}-{last}->{first}-{last}/tcp")),
        "{shown}"
    );
    engine.succeed(&["rm", "-f", "wide"])?;
    wait::until("the closed ports", Duration::from_secs(10), || {
        Ok(net::connect(first).is_err() && net::connect(last).is_err())
    })
}

/// PITFALLS 13.
fn datagrams(engine: &Engine) -> anyhow::Result<()> {
    server::import(engine)?;
    let port = net::free_port()?;
    let publish = format!("{port}:5005/udp");
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "datagrams",
        "-p",
        &publish,
        server::IMAGE,
        "/server",
    ])?;
    for (own, address) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let client = UdpSocket::bind(own)?;
        client.connect((address, port))?;
        client.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut reply = vec![0; 70_000];
        wait::until("the server", Duration::from_secs(20), || {
            client.send(b"?")?;
            Ok(client.recv(&mut reply).is_ok())
        })?;
        // Answers to the attempts before.
        while client.recv(&mut reply).is_ok() {}
        client.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut source = None;
        for length in [0, 1, 512, 1472, 9000, 65_000, 65_505] {
            let sent: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
            client.send(&sent)?;
            let received = client.recv(&mut reply)?;
            ensure!(
                reply[2..received] == sent,
                "{length} bytes, {received} came"
            );
            let seen = [reply[0], reply[1]];
            ensure!(*source.get_or_insert(seen) == seen, "another source port");
        }
    }
    engine.succeed(&["rm", "-f", "datagrams"])?;
    Ok(())
}

/// PITFALLS 13, of streams.
fn all_exposed(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&[
        "run", "-d", "-P", "--expose", "80", "--expose", "53/udp", "--name", "exposed", IMAGE,
        "httpd", "-f", "-h", "/www",
    ])?;
    let listed = engine.succeed(&["port", "exposed"])?;
    ensure!(
        listed.lines().count() == 4 && listed.contains("53/udp -> "),
        "{listed}"
    );
    let web = engine.succeed(&["port", "exposed", "80"])?;
    let port: u16 = web
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("127.0.0.1:")?.parse().ok())
        .with_context(|| format!("no port in {web:?}"))?;
    ensure!(web.contains(&format!("[::1]:{port}")), "{web}");
    wait::until("the page", Duration::from_secs(20), || {
        let page = net::request(port, b"GET / HTTP/1.0\r\n\r\n").unwrap_or_default();
        Ok(String::from_utf8_lossy(&page).contains("a page of the image"))
    })?;
    // The same of IPv6.
    let mut stream = std::net::TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    ensure!(page.contains("a page of the image"), "{page}");
    engine.succeed(&["rm", "-f", "exposed"])?;
    Ok(())
}

fn host_network(engine: &Engine) -> anyhow::Result<()> {
    let port = net::free_port()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let conflict = taken.local_addr()?.port();
    let script = format!(
        "httpd -f -h /www -p {port} & web=$!
        nc -ll -p {conflict} -e true &
        trap 'kill $web' USR1
        while true; do wait; done"
    );
    engine.succeed(&[
        "run", "-d", "--name", "own", "--net", "host", IMAGE, "sh", "-c", &script,
    ])?;
    wait::until("the page", Duration::from_secs(20), || {
        let page = net::request(port, b"GET / HTTP/1.0\r\n\r\n").unwrap_or_default();
        Ok(String::from_utf8_lossy(&page).contains("a page of the image"))
    })?;
    // What another program has stays its, and is shown as not published.
    wait::until("the ports in ps", Duration::from_secs(10), || {
        let shown = engine.succeed(&["ps", "--filter", "name=own", "--format", "{{.Ports}}"])?;
        let published = format!("127.0.0.1:{port}->{port}/tcp");
        let shown: Vec<_> = shown.trim().split(", ").collect();
        Ok(shown.contains(&&published[..]) && shown.contains(&&format!("{conflict}/tcp")[..]))
    })?;
    engine.succeed(&["kill", "-s", "USR1", "own"])?;
    wait::until("the closed port", Duration::from_secs(10), || {
        Ok(net::connect(port).is_err())
    })?;
    ensure!(
        !engine
            .succeed(&["ps", "-q", "--filter", "name=own"])?
            .is_empty()
    );
    engine.succeed(&["rm", "-f", "own"])?;
    Ok(())
}

fn idle(engine: &Engine) -> anyhow::Result<()> {
    const CONNECTIONS: usize = 1000;
    server::import(engine)?;
    let port = net::free_port()?;
    let publish = format!("{port}:5003");
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "idle",
        "-p",
        &publish,
        server::IMAGE,
        "/server",
    ])?;
    wait::until("the server", Duration::from_secs(20), || {
        Ok(net::request(port, b"x").is_ok_and(|reply| reply == b"x"))
    })?;
    let machine = u32::try_from(engine.status_number("Pid")?)?;
    let before = process::descriptors(machine)?;
    let mut streams = Vec::new();
    for n in 0..CONNECTIONS {
        streams.push(net::connect(port).with_context(|| format!("connection {n}"))?);
    }
    for stream in &mut streams {
        stream.write_all(b"x")?;
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        stream
            .read_exact(&mut [0])
            .with_context(|| format!("connection {n}"))?;
    }
    drop(streams);
    wait::until("the descriptors' return", Duration::from_secs(20), || {
        Ok(process::descriptors(machine)? <= before + 2)
    })?;
    engine.succeed(&["rm", "-f", "idle"])?;
    Ok(())
}
