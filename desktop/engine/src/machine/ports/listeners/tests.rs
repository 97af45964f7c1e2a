use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use wherry_proto::frame::{
    Kind, read_frame, read_stream_header, write_bytes, write_frame, write_stream_reply,
};
use wherry_proto::v1::{StreamReply, stream_header::Purpose};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// Ports whose guest is the test: every dialled stream's other end arrives.
fn ports() -> (Ports, mpsc::UnboundedReceiver<DuplexStream>) {
    let (sender, streams) = mpsc::unbounded_channel();
    let dial: Dial = Arc::new(move || {
        let (near, far) = duplex(16 * 1024);
        sender.send(far).unwrap();
        Box::pin(async move { Ok(Box::new(near) as Box<dyn GuestStream>) })
    });
    let ports = Ports::with(dial, Ipv4Addr::LOCALHOST.into());
    (ports, streams)
}

fn port(address: &str, host_port: u16, protocol: &str) -> PublishedPort {
    PublishedPort {
        container_port: 80,
        protocol: protocol.into(),
        host_address: address.into(),
        host_port: host_port.into(),
        ..PublishedPort::default()
    }
}

async fn publish(
    ports: &Ports,
    container: &str,
    wishes: &[PublishedPort],
) -> Result<Vec<PublishedPort>, tonic::Status> {
    let request = PublishRequest {
        container: container.to_owned(),
        ports: wishes.to_vec(),
        best_effort: false,
    };
    Ok(ports.publish(&request).await?.ports)
}

async fn publish_one(ports: &Ports, protocol: &str) -> SocketAddr {
    let bound = publish(ports, "c1", &[port("127.0.0.1", 0, protocol)])
        .await
        .unwrap();
    let number = u16::try_from(bound[0].host_port).unwrap();
    (Ipv4Addr::LOCALHOST, number).into()
}

/// Takes the guest's end of the next connection, its header answered.
async fn accept(streams: &mut mpsc::UnboundedReceiver<DuplexStream>) -> DuplexStream {
    let mut guest = streams.recv().await.unwrap();
    let header = read_stream_header(&mut guest).await.unwrap();
    let Some(Purpose::Port(target)) = header.purpose else {
        panic!("no port stream");
    };
    assert_eq!((target.container.as_str(), target.port), ("c1", 80));
    write_stream_reply(&mut guest, &StreamReply::default())
        .await
        .unwrap();
    guest
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

#[tokio::test]
async fn half_closed_request_gets_its_whole_reply() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    let mut guest = soon(accept(&mut streams)).await;
    let frame = read_frame(&mut guest).await.unwrap().unwrap();
    assert_eq!(
        (frame.kind, frame.payload.as_ref()),
        (Kind::Data, &b"request"[..])
    );
    let end = read_frame(&mut guest).await.unwrap().unwrap();
    assert_eq!(end.kind, Kind::End);
    let reply: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let answer = async {
        write_bytes(&mut guest, Kind::Data, &reply).await.unwrap();
        write_frame(&mut guest, Kind::End, &[]).await.unwrap();
    };
    let mut received = Vec::new();
    let (_, count) = soon(async { tokio::join!(answer, client.read_to_end(&mut received)) }).await;
    assert_eq!(count.unwrap(), reply.len());
    assert!(received == reply);
}

#[tokio::test]
async fn a_reply_ended_first_leaves_the_request_going() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut guest = soon(accept(&mut streams)).await;
    write_frame(&mut guest, Kind::End, &[]).await.unwrap();
    assert_eq!(soon(client.read(&mut [0; 1])).await.unwrap(), 0);
    client.write_all(b"still here").await.unwrap();
    let frame = soon(read_frame(&mut guest)).await.unwrap().unwrap();
    assert_eq!(frame.payload.as_ref(), b"still here");
}

#[tokio::test]
async fn a_cut_off_reply_is_a_reset_and_no_end() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let guest = soon(accept(&mut streams)).await;
    drop(guest);
    let error = soon(client.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_that_resets_is_cut_off_in_the_guest() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let client = TcpStream::connect(address).await.unwrap();
    let mut guest = soon(accept(&mut streams)).await;
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    // The stream closes, and no End says that this was meant.
    assert!(soon(read_frame(&mut guest)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_refused_stream_is_a_reset() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut guest = streams.recv().await.unwrap();
    read_stream_header(&mut guest).await.unwrap();
    let reply = StreamReply {
        error: "connection refused".into(),
        code: 14,
    };
    write_stream_reply(&mut guest, &reply).await.unwrap();
    let error = soon(client.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_slow_guest_holds_the_client_back() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let client = TcpStream::connect(address).await.unwrap();
    let _guest = soon(accept(&mut streams)).await;
    let mut sent = 0;
    // Nobody reads in the guest: the client's writes come to a stop.
    while soon(client.writable()).await.is_ok() {
        match client.try_write(&[0; 65_536]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        let stuck = tokio::time::timeout(Duration::from_millis(300), client.writable()).await;
        if stuck.is_err() {
            break;
        }
        assert!(sent < 64 << 20, "the bytes pile up somewhere");
    }
}

#[tokio::test]
async fn a_taken_port_names_itself_its_owner_and_what_to_do() {
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port();
    let (ports, _streams) = ports();
    let free = port("127.0.0.1", 0, "tcp");
    let wish = [free, port("127.0.0.1", number, "tcp")];
    let status = publish(&ports, "c1", &wish).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::AlreadyExists);
    let start = format!("port {number} on 127.0.0.1 is taken by ");
    assert!(status.message().starts_with(&start), "{}", status.message());
    let end = format!("for example -p {}:80", number + 1);
    assert!(status.message().ends_with(&end), "{}", status.message());
    // None of them stays.
    assert!(ports.list().is_empty());
}

#[tokio::test]
async fn a_port_of_another_container_names_it() {
    let (ports, _streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let wish = [port("127.0.0.1", address.port(), "tcp")];
    let status = publish(&ports, "c2", &wish).await.unwrap_err();
    assert!(
        status.message().contains("container c1"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn the_same_container_again_is_the_same_answer() {
    let (ports, _streams) = ports();
    let wish = [port("", 0, "tcp"), port("", 0, "udp")];
    let first = publish(&ports, "c1", &wish).await.unwrap();
    assert_eq!(publish(&ports, "c1", &wish).await.unwrap(), first);
    assert!(first.iter().all(|port| port.host_port != 0));
}

#[tokio::test]
async fn a_closed_port_can_be_bound_at_once_and_its_connections_go_on() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut guest = soon(accept(&mut streams)).await;
    ports.unpublish("c1").await;
    publish(&ports, "c2", &[port("127.0.0.1", address.port(), "tcp")])
        .await
        .unwrap();
    write_frame(&mut guest, Kind::Data, b"on").await.unwrap();
    let mut byte = [0; 2];
    soon(client.read_exact(&mut byte)).await.unwrap();
    assert_eq!(&byte, b"on");
}

#[tokio::test]
async fn bad_wishes_are_refused_by_name() {
    let (ports, _streams) = ports();
    for (wish, word) in [
        (port("everywhere", 80, "tcp"), "everywhere"),
        (port("", 80, "sctp"), "sctp"),
        (port("192.0.2.1", 0, "tcp"), "192.0.2.1"),
    ] {
        let status = publish(&ports, "c1", &[wish]).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains(word), "{}", status.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_8192_ports_is_bound_in_seconds() {
    crate::platform::raise_open_file_limit();
    let (ports, _streams) = ports();
    for protocol in ["tcp", "udp"] {
        // On IPv4 and IPv6, as a `-p` without an address.
        let wishes: Vec<_> = (0..8192u16)
            .map(|offset| port("", 12_000 + offset, protocol))
            .collect();
        let begun = Instant::now();
        let bound = publish(&ports, "c1", &wishes).await.unwrap();
        let opened = begun.elapsed();
        assert_eq!(bound.len(), 2 * 8192);
        ports.unpublish("c1").await;
        let closed = begun.elapsed() - opened;
        eprintln!("8192 {protocol} ports: opened in {opened:?}, closed in {closed:?}");
        assert!(
            opened + closed < Duration::from_secs(3),
            "{opened:?} {closed:?}"
        );
    }
}

#[tokio::test]
async fn more_ports_than_descriptors_are_refused_before_any_is_bound() {
    let (ports, _streams) = ports();
    let limit = usize::try_from(crate::platform::open_file_limit()).unwrap();
    let wishes = vec![port("127.0.0.1", 0, "tcp"); limit];
    let status = publish(&ports, "c1", &wishes).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.message().contains("ulimit"), "{}", status.message());
    assert!(ports.list().is_empty());
}

#[tokio::test]
async fn a_port_without_an_address_is_on_both_families_of_the_setting() {
    for (setting, expected) in [
        ("127.0.0.1", &["127.0.0.1", "::1"][..]),
        ("0.0.0.0", &["0.0.0.0", "::"]),
        ("::1", &["::1"]),
        ("127.0.0.2", &["127.0.0.2"]),
    ] {
        let dial: Dial = Arc::new(|| Box::pin(async { Err(io::ErrorKind::Other.into()) }));
        let ports = Ports::with(dial, setting.parse().unwrap());
        let bound = publish(&ports, "c1", &[port("", 0, "tcp")]).await.unwrap();
        let addresses: Vec<_> = bound.iter().map(|port| &port.host_address[..]).collect();
        assert_eq!(addresses, expected);
        assert!(
            bound
                .iter()
                .all(|port| port.host_port == bound[0].host_port)
        );
        // An address that was named is that address alone.
        let named = publish(&ports, "c2", &[port("127.0.0.1", 0, "tcp")]).await;
        assert_eq!(named.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_range_for_one_port_is_its_first_free_one_and_says_when_none_is() {
    let (ports, _streams) = ports();
    let first = 21_320;
    let choice = PublishedPort {
        host_port_last: u32::from(first) + 1,
        ..port("127.0.0.1", first, "tcp")
    };
    for (container, expected) in [("c1", 0), ("c2", 1)] {
        let bound = publish(&ports, container, &[choice.clone()]).await.unwrap();
        assert_eq!(bound[0].host_port, u32::from(first) + expected);
    }
    let status = publish(&ports, "c3", &[choice]).await.unwrap_err();
    assert!(
        status
            .message()
            .contains("none of the ports 21320 to 21321"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn best_effort_binds_the_rest_and_tells_what_not() {
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port();
    let (ports, _streams) = ports();
    let free = port("127.0.0.1", 0, "tcp");
    let request = PublishRequest {
        container: "c1".to_owned(),
        ports: vec![port("127.0.0.1", number, "tcp"), free.clone()],
        best_effort: true,
    };
    let answer = ports.publish(&request).await.unwrap();
    assert_eq!(answer.ports.len(), 1);
    assert!(
        answer.problems[0].contains(&number.to_string()),
        "{:?}",
        answer.problems
    );
    // What is bound stays as it is when the rest changes.
    let request = PublishRequest {
        ports: vec![free.clone(), free],
        ..request
    };
    let later = ports.publish(&request).await.unwrap();
    assert!(later.problems.is_empty() && later.ports.contains(&answer.ports[0]));
    assert_eq!(later.ports.len(), 2);
}

/// PITFALLS 9.
#[tokio::test]
async fn a_listener_that_died_is_rebuilt_and_the_way_is_checked() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    ports.lock()["c1"].open[0].break_down();
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(begun.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    let answer = async {
        let mut guest = streams.recv().await.unwrap();
        let header = read_stream_header(&mut guest).await.unwrap();
        assert!(matches!(header.purpose, Some(Purpose::Port(target)) if target.check));
        write_stream_reply(&mut guest, &StreamReply::default())
            .await
            .unwrap();
    };
    let (broken, ()) = soon(async { tokio::join!(ports.check(), answer) }).await;
    assert_eq!(broken, 0);
    TcpStream::connect(address).await.unwrap();

    // A guest that does not take the stream.
    let _connection = soon(streams.recv()).await;
    let refusal = async { drop(streams.recv().await) };
    let (broken, ()) = soon(async { tokio::join!(ports.check(), refusal) }).await;
    assert_eq!(broken, 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_thousand_connections_later_no_descriptor_is_left() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let before = descriptors();
    for _ in 0..1000 {
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut guest = soon(accept(&mut streams)).await;
        write_frame(&mut guest, Kind::End, &[]).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(soon(client.read(&mut [0; 1])).await.unwrap(), 0);
    }
    let begun = Instant::now();
    // Other tests of this process have descriptors, too.
    while descriptors() > before + 100 {
        assert!(begun.elapsed() < DEADLINE, "{} descriptors", descriptors());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn datagrams_go_both_ways_and_each_client_has_its_flow() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "udp").await;
    let one = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let two = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    one.send_to(b"one", address).await.unwrap();
    let mut guest_one = soon(accept(&mut streams)).await;
    two.send_to(b"two", address).await.unwrap();
    let mut guest_two = soon(accept(&mut streams)).await;
    for (guest, client, word) in [
        (&mut guest_one, &one, b"one"),
        (&mut guest_two, &two, b"two"),
    ] {
        let frame = soon(read_frame(guest)).await.unwrap().unwrap();
        assert_eq!(frame.payload.as_ref(), word);
        write_frame(guest, Kind::Data, b"reply").await.unwrap();
        let mut buffer = [0; 16];
        let (count, from) = soon(client.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((&buffer[..count], from), (&b"reply"[..], address));
    }
}

#[tokio::test]
async fn a_flow_of_datagrams_keeps_their_bounds_up_to_the_largest_and_works_on_ipv6() {
    let (ports, mut streams) = ports();
    let bound = publish(&ports, "c1", &[port("::1", 0, "udp")])
        .await
        .unwrap();
    let address = SocketAddr::new("::1".parse().unwrap(), bound[0].host_port as u16);
    let client = UdpSocket::bind("[::1]:0").await.unwrap();
    let lengths = [0, 1, 1472, 9000, 65_507];
    let mut guest = None;
    for length in lengths {
        client.send_to(&vec![b'd'; length], address).await.unwrap();
        let guest = match &mut guest {
            Some(guest) => guest,
            none => none.insert(soon(accept(&mut streams)).await),
        };
        let frame = soon(read_frame(guest)).await.unwrap().unwrap();
        assert_eq!(frame.payload.len(), length);
        write_frame(guest, Kind::Data, &frame.payload)
            .await
            .unwrap();
        let mut buffer = vec![0; 70_000];
        let (count, from) = soon(client.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((count, from), (length, address));
    }
}

#[tokio::test]
async fn a_silent_flow_ends_later_if_the_container_has_answered() {
    let (mut ports, mut streams) = ports();
    ports.shorten_flows(Duration::from_millis(100), Duration::from_millis(1500));
    let address = publish_one(&ports, "udp").await;
    let (quiet, answered) = tokio::join!(
        UdpSocket::bind("127.0.0.1:0"),
        UdpSocket::bind("127.0.0.1:0")
    );
    let (quiet, answered) = (quiet.unwrap(), answered.unwrap());
    answered.send_to(b"ping", address).await.unwrap();
    let mut long = soon(accept(&mut streams)).await;
    write_frame(&mut long, Kind::Data, b"pong").await.unwrap();
    soon(answered.recv_from(&mut [0; 8])).await.unwrap();
    let begun = Instant::now();
    quiet.send_to(b"ping", address).await.unwrap();
    let mut short = soon(accept(&mut streams)).await;
    soon(read_frame(&mut short)).await.unwrap().unwrap();
    // The stream closes: the flow is over.
    assert!(!matches!(soon(read_frame(&mut short)).await, Ok(Some(_))));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    // The other one goes on, on its own stream, with its own source.
    answered.send_to(b"again", address).await.unwrap();
    soon(read_frame(&mut long)).await.unwrap().unwrap();
    assert_eq!(
        soon(read_frame(&mut long))
            .await
            .unwrap()
            .unwrap()
            .payload
            .as_ref(),
        b"again"
    );
    assert!(!matches!(soon(read_frame(&mut long)).await, Ok(Some(_))));
    assert!(begun.elapsed() >= Duration::from_millis(1500));
    // A new datagram is a new flow.
    quiet.send_to(b"back", address).await.unwrap();
    let mut third = soon(accept(&mut streams)).await;
    assert_eq!(
        soon(read_frame(&mut third))
            .await
            .unwrap()
            .unwrap()
            .payload
            .as_ref(),
        b"back"
    );
}
