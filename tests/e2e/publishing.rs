//! Published ports: many of them, of datagrams, by themselves, and after whatever
//! happens to the machine.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use wherry_client::channel;
use wherry_proto::v1::machine_client::MachineClient;
use wherry_proto::v1::{PauseRequest, ResumeRequest};
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
    (
        "every_port_answers_after_a_pause_and_a_killed_wherryd",
        returns,
    ),
];

/// How long a port may take to answer again.
const AGAIN: Duration = Duration::from_secs(5);

/// PITFALLS 12.
fn range(engine: &Engine) -> anyhow::Result<()> {
    const FIRST: u16 = 20_000;
    const LAST: u16 = FIRST + 8191;
    let begun = Instant::now();
    engine.succeed(&["run", "--rm", IMAGE, "true"])?;
    let without = begun.elapsed();
    let ports = format!("{FIRST}-{LAST}:{FIRST}-{LAST}");
    let serve = format!("nc -ll -p {FIRST} -e echo one & exec nc -ll -p {LAST} -e echo other");
    let begun = Instant::now();
    engine.succeed(&[
        "run", "-d", "--name", "wide", "-p", &ports, IMAGE, "sh", "-c", &serve,
    ])?;
    let elapsed = begun.elapsed();
    eprintln!("8192 ports: {elapsed:?}; a run without any: {without:?}");
    ensure!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    for (port, reply) in [(FIRST, "one\n"), (LAST, "other\n")] {
        wait::until("the port", Duration::from_secs(20), || {
            Ok(net::request(port, b"").is_ok_and(|got| got == reply.as_bytes()))
        })?;
    }
    let shown = engine.succeed(&["ps", "--filter", "name=wide", "--format", "{{.Ports}}"])?;
    ensure!(
        shown.contains(&format!("127.0.0.1:{FIRST}-{LAST}->{FIRST}-{LAST}/tcp")),
        "{shown}"
    );
    engine.succeed(&["rm", "-f", "wide"])?;
    wait::until("the closed ports", Duration::from_secs(10), || {
        Ok(net::connect(FIRST).is_err() && net::connect(LAST).is_err())
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

/// PITFALLS 7 and 9.
fn returns(engine: &Engine) -> anyhow::Result<()> {
    server::import(engine)?;
    let ports = [net::free_port()?, net::free_port()?];
    let (echo, datagrams) = (
        format!("{}:5003", ports[0]),
        format!("{}:5005/udp", ports[1]),
    );
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "returns",
        "-p",
        &echo,
        "-p",
        &datagrams,
        server::IMAGE,
        "/server",
    ])?;
    answers(ports, Duration::from_secs(20))?;
    let mut standing = net::connect(ports[0])?;
    standing.write_all(b"a")?;
    standing.read_exact(&mut [0])?;

    pause(engine, Duration::from_secs(3), || {
        standing.write_all(b"b").map_err(Into::into)
    })?;
    answers(ports, AGAIN)?;
    // What was sent meanwhile has arrived, and the connection goes on.
    standing.read_exact(&mut [0])?;

    let wherryd = engine.wherryd()?;
    process::kill(wherryd)?;
    answers(ports, AGAIN)?;
    standing.write_all(b"c")?;
    standing.read_exact(&mut [0])?;
    engine.succeed(&["rm", "-f", "returns"])?;
    wait::until("the closed port", Duration::from_secs(10), || {
        Ok(net::connect(ports[0]).is_err())
    })
}

fn answers([echo, datagrams]: [u16; 2], deadline: Duration) -> anyhow::Result<()> {
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.set_read_timeout(Some(Duration::from_millis(300)))?;
    client.connect(("127.0.0.1", datagrams))?;
    wait::until("the ports' answers", deadline, || {
        client.send(b"?")?;
        Ok(client.recv(&mut [0; 8]).is_ok()
            && net::request(echo, b"x").is_ok_and(|reply| reply == b"x"))
    })
}

/// Stops the machine's processors for a while.
fn pause(
    engine: &Engine,
    time: Duration,
    meanwhile: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let socket = wherry_client::Home::at(engine.home())?.machine_socket();
    runtime.block_on(async {
        let mut machine = MachineClient::new(channel(&socket).await?);
        machine.pause(PauseRequest {}).await?;
        meanwhile()?;
        std::thread::sleep(time);
        machine.resume(ResumeRequest {}).await?;
        Ok(())
    })
}
