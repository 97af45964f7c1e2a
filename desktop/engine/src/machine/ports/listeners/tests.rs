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
    (Ports::with(dial), streams)
}

fn port(address: &str, host_port: u16, protocol: &str) -> PublishedPort {
    PublishedPort {
        container_port: 80,
        protocol: protocol.into(),
        host_address: address.into(),
        host_port: host_port.into(),
    }
}

async fn publish_one(ports: &Ports, protocol: &str) -> SocketAddr {
    let bound = ports
        .publish("c1", &[port("127.0.0.1", 0, protocol)])
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
    let status = ports.publish("c1", &wish).await.unwrap_err();
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
    let status = ports.publish("c2", &wish).await.unwrap_err();
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
    let first = ports.publish("c1", &wish).await.unwrap();
    assert_eq!(ports.publish("c1", &wish).await.unwrap(), first);
    assert!(first.iter().all(|port| port.host_port != 0));
}

#[tokio::test]
async fn a_closed_port_can_be_bound_at_once_and_its_connections_go_on() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut guest = soon(accept(&mut streams)).await;
    ports.unpublish("c1").await;
    ports
        .publish("c2", &[port("127.0.0.1", address.port(), "tcp")])
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
        let status = ports.publish("c1", &[wish]).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains(word), "{}", status.message());
    }
}

#[tokio::test]
async fn a_range_of_8192_ports_is_bound_in_seconds() {
    crate::platform::raise_open_file_limit();
    let (ports, _streams) = ports();
    let wishes: Vec<_> = (0..8192).map(|_| port("127.0.0.1", 0, "tcp")).collect();
    let begun = Instant::now();
    let bound = ports.publish("c1", &wishes).await.unwrap();
    assert_eq!(bound.len(), 8192);
    ports.unpublish("c1").await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
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
