mod binding;
mod datagrams;

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
async fn a_stream_that_the_guest_did_not_take_is_tried_again() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"request").await.unwrap();
    // As the guest's kernel does with a full queue.
    drop(soon(streams.recv()).await);
    let mut guest = soon(accept(&mut streams)).await;
    let frame = soon(read_frame(&mut guest)).await.unwrap().unwrap();
    assert_eq!(frame.payload.as_ref(), b"request");
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
