//! Connections to containers' ports, as the host's published ports make them.
//!
//! The containers here are in the network of this machine, so that the tests
//! themselves are what listens at the ports.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::time::Duration;

use support::{Agent, not_root, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket, UnixStream};
use tonic::Streaming;
use wherry_proto::frame::{Kind, read_frame, write_bytes, write_frame};
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{
    InspectContainerRequest, KillContainerRequest, Listening, NotePortsRequest, PortBinding,
    PortStream, WatchListeningRequest,
};

async fn container(agent: &mut Agent) -> String {
    let id = agent
        .create("exec sleep 1000", |spec| spec.network = "host".to_owned())
        .await;
    agent.run(&id).await.unwrap();
    id
}

async fn connect(agent: &Agent, id: &str, port: u16, protocol: &str) -> UnixStream {
    let port = PortStream {
        container: id.to_owned(),
        port: port.into(),
        protocol: protocol.to_owned(),
        ..PortStream::default()
    };
    let (stream, reply) = agent.stream(Purpose::Port(port)).await;
    assert_eq!(reply.error, "");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ended_early_still_gets_its_whole_reply() {
    if not_root("a_request_ended_early") {
        return;
    }
    const REPLY: usize = 5_000_000;
    let mut agent = Agent::start().await;
    let id = container(&mut agent).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        socket.read_to_end(&mut request).await.unwrap();
        socket.write_all(&vec![b'r'; REPLY]).await.unwrap();
        request
    });
    let mut stream = connect(&agent, &id, port, "tcp").await;
    write_bytes(&mut stream, Kind::Data, b"a request")
        .await
        .unwrap();
    write_frame(&mut stream, Kind::End, &[]).await.unwrap();
    let mut reply = 0;
    loop {
        let frame = within(read_frame(&mut stream)).await.unwrap().unwrap();
        match frame.kind {
            Kind::Data => reply += frame.payload.len(),
            Kind::End => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reply, REPLY);
    assert_eq!(server.await.unwrap(), b"a request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_on_one_side_breaks_on_the_other() {
    if not_root("a_connection_that_breaks") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = container(&mut agent).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();

    let stream = connect(&agent, &id, port, "tcp").await;
    let (mut socket, _) = within(listener.accept()).await.unwrap();
    drop(stream);
    let error = within(socket.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let mut stream = connect(&agent, &id, port, "tcp").await;
    let (socket, _) = within(listener.accept()).await.unwrap();
    socket.set_zero_linger().unwrap();
    drop(socket);
    // Closed without an End: cut off.
    assert!(!matches!(
        within(read_frame(&mut stream)).await,
        Ok(Some(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_nobody_reads_holds_up_only_itself() {
    if not_root("a_stream_nobody_reads") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = container(&mut agent).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let chunk = vec![b'x'; 64 * 1024];
                while socket.write_all(&chunk).await.is_ok() {}
            });
        }
    });
    let mut blocked = Vec::new();
    for _ in 0..16 {
        blocked.push(connect(&agent, &id, port, "tcp").await);
    }
    let mut read = connect(&agent, &id, port, "tcp").await;
    let mut bytes = 0;
    while bytes < 20_000_000 {
        bytes += within(read_frame(&mut read))
            .await
            .unwrap()
            .unwrap()
            .payload
            .len();
    }
    drop(blocked);
}

/// PITFALLS 5, of the agent.
#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_no_descriptor_behind() {
    if not_root("connections_leave_no_descriptor") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = container(&mut agent).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let _ = socket.read_to_end(&mut bytes).await;
                let _ = socket.write_all(&bytes).await;
            });
        }
    });
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))
            .unwrap()
            .count()
    };
    let before = descriptors();
    for number in 0..2000 {
        let mut stream = connect(&agent, &id, port, "tcp").await;
        write_frame(&mut stream, Kind::Data, b"echo").await.unwrap();
        // Some end well, some are cut off.
        if number % 4 != 0 {
            write_frame(&mut stream, Kind::End, &[]).await.unwrap();
            let frame = within(read_frame(&mut stream)).await.unwrap().unwrap();
            assert_eq!(frame.payload, &b"echo"[..]);
        }
    }
    let begun = std::time::Instant::now();
    while descriptors() > before {
        assert!(
            begun.elapsed() < support::DEADLINE,
            "{} descriptors, {before} before",
            descriptors()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_is_a_frame() {
    if not_root("a_datagram") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = container(&mut agent).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut stream = connect(&agent, &id, socket.local_addr().unwrap().port(), "udp").await;
    for length in [1, 0, 1400, 65_000] {
        write_frame(&mut stream, Kind::Data, &vec![b'd'; length])
            .await
            .unwrap();
        let mut buffer = vec![0; 70_000];
        let (received, from) = within(socket.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(received, length);
        socket.send_to(&buffer[..received], from).await.unwrap();
        let frame = within(read_frame(&mut stream)).await.unwrap().unwrap();
        assert_eq!((frame.kind, frame.payload.len()), (Kind::Data, length));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_nobody_listens_at_is_refused() {
    if not_root("a_port_nobody_listens_at") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = container(&mut agent).await;
    // Free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for port in [u32::from(port), 0, 70_000] {
        let port = PortStream {
            container: id.clone(),
            port,
            protocol: "tcp".to_owned(),
            ..PortStream::default()
        };
        let (_, reply) = agent.stream(Purpose::Port(port)).await;
        assert!(!reply.error.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_one_address_in_the_guests_network_is_reached_there() {
    if not_root("a_server_of_one_address") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = container(&mut agent).await;
    for address in ["127.0.0.7", "::1"] {
        let tcp = TcpListener::bind((address, 0)).await.unwrap();
        let udp = UdpSocket::bind((address, 0)).await.unwrap();
        let target = |port: u16, protocol: &str| PortStream {
            container: id.clone(),
            port: port.into(),
            protocol: protocol.to_owned(),
            address: address.to_owned(),
            check: false,
        };
        let port = target(tcp.local_addr().unwrap().port(), "tcp");
        let (_stream, reply) = agent.stream(Purpose::Port(port)).await;
        assert_eq!(reply.error, "");
        within(tcp.accept()).await.unwrap();
        let port = target(udp.local_addr().unwrap().port(), "udp");
        let (mut stream, reply) = agent.stream(Purpose::Port(port)).await;
        assert_eq!(reply.error, "");
        write_frame(&mut stream, Kind::Data, b"here").await.unwrap();
        let (length, _) = within(udp.recv_from(&mut [0; 8])).await.unwrap();
        assert_eq!(length, 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_answered_without_a_connection() {
    if not_root("a_check_is_answered") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = container(&mut agent).await;
    let check = |container: &str, address: &str| {
        Purpose::Port(PortStream {
            container: container.to_owned(),
            // Nobody listens there.
            port: 1,
            protocol: "tcp".to_owned(),
            address: address.to_owned(),
            check: true,
        })
    };
    let (_, reply) = agent.stream(check(&id, "")).await;
    assert_eq!(reply.error, "");
    let (_, reply) = agent.stream(check("nobody", "")).await;
    assert!(reply.error.contains("nobody"), "{}", reply.error);
    let none = agent
        .create("exec sleep 1000", |spec| spec.network = "none".to_owned())
        .await;
    agent.run(&none).await.unwrap();
    // Only the guest's own network has addresses to choose from.
    let (_, reply) = agent.stream(check(&none, "127.0.0.1")).await;
    assert!(
        reply.error.contains("guest's own network"),
        "{}",
        reply.error
    );
}

/// Starts a process in a cgroup that waits for datagrams.
fn datagram_server(cgroup: &str, port: u16) -> std::process::Child {
    let program = format!(
        "use Socket; socket(S, PF_INET, SOCK_DGRAM, 0); \
         bind(S, sockaddr_in({port}, INADDR_ANY)) or die; sleep 100"
    );
    let join = "echo $$ >\"$0\" && exec perl -e \"$1\"";
    std::process::Command::new("sh")
        .args(["-c", join, cgroup, &program])
        .spawn()
        .unwrap()
}

async fn watch_listening(agent: &mut Agent) -> Streaming<Listening> {
    let request = WatchListeningRequest {};
    let changes = agent.containers.watch_listening(request).await;
    changes.unwrap().into_inner()
}

/// Waits until a change tells that a container listens at the wanted ports.
async fn listening_at(changes: &mut Streaming<Listening>, id: &str, wanted: &[(u32, &str, &str)]) {
    loop {
        let snapshot = within(changes.message()).await.unwrap().unwrap();
        let mut containers = snapshot.containers.iter();
        let found = containers.find(|found| found.container == id);
        let ports: Vec<_> = found
            .iter()
            .flat_map(|found| &found.ports)
            .map(|port| (port.port, &port.protocol[..], &port.address[..]))
            .collect();
        if found.is_some() && ports == wanted {
            return;
        }
        eprintln!("{ports:?}, not yet {wanted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_listens_in_the_guests_network_is_told_at_once_and_what_ends_too() {
    if not_root("what_listens") {
        return;
    }
    let mut agent = Agent::start().await;
    let mut changes = watch_listening(&mut agent).await;
    // Of this machine, but of no container.
    let _other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let script = "httpd -f -p 127.0.0.9:18232 & web=$!
        trap 'kill $web; exec sleep 1000' TERM
        nc -l -p 18231 & while true; do wait; done";
    let id = agent
        .create(script, |spec| spec.network = "host".to_owned())
        .await;
    agent.run(&id).await.unwrap();
    let tcp = [(18231, "tcp", "127.0.0.1"), (18232, "tcp", "127.0.0.9")];
    let begun = std::time::Instant::now();
    listening_at(&mut changes, &id, &tcp).await;
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");

    // In a cgroup of its own below the container's, as a service of systemd is.
    let cgroup = format!(
        "/proc/{}/root/sys/fs/cgroup/wherry-containers/{id}/below",
        agent.holder()
    );
    std::fs::create_dir(&cgroup).unwrap();
    let mut server = datagram_server(&format!("{cgroup}/cgroup.procs"), 18233);
    let all = [&tcp[..], &[(18233, "udp", "127.0.0.1")]].concat();
    listening_at(&mut changes, &id, &all).await;
    server.kill().unwrap();
    server.wait().unwrap();
    listening_at(&mut changes, &id, &tcp).await;
    // A server that serves once ends with its client.
    let client = tokio::net::TcpStream::connect("127.0.0.1:18231").await;
    drop(client.unwrap());
    listening_at(&mut changes, &id, &tcp[1..]).await;

    // Where the host has it is noted and shown.
    let port = PortBinding {
        container_port: 18232,
        protocol: "tcp".to_owned(),
        host_address: "127.0.0.1".to_owned(),
        host_port: 18232,
        host_port_last: 0,
    };
    let note = NotePortsRequest {
        container: id.clone(),
        ports: vec![port.clone()],
    };
    agent.containers.note_ports(note).await.unwrap();
    let request = InspectContainerRequest {
        container: id.clone(),
    };
    let shown = agent
        .containers
        .inspect(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.ports, [port]);

    // Another agent goes on with it. The server ends, the container does not.
    agent.kill();
    agent.serve().await;
    let mut changes = watch_listening(&mut agent).await;
    listening_at(&mut changes, &id, &tcp[1..]).await;
    let kill = KillContainerRequest {
        container: id.clone(),
        signal: "TERM".to_owned(),
    };
    agent.containers.kill(kill).await.unwrap();
    listening_at(&mut changes, &id, &[]).await;
}
