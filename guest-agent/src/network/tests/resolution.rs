//! The embedded name server over the wire.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{RData, Record, RecordType};

use super::names::{addresses, query};
use super::sandbox::{address, inside, request, sandboxed};
use crate::network::{Network, NetworkMode};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(8));

/// Asks the gateway over UDP, from inside a container.
async fn ask(netns: &Path, message: Message) -> Message {
    let netns = netns.to_owned();
    blocking(move || {
        inside(&netns, || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(PATIENCE).unwrap();
            socket.connect((address(1), 53)).unwrap();
            socket.send(&message.to_vec().unwrap()).unwrap();
            let mut buffer = vec![0; 4096];
            let length = socket.recv(&mut buffer).unwrap();
            Message::from_vec(&buffer[..length]).unwrap()
        })
    })
    .await
}

/// Asks several questions over one TCP connection.
async fn ask_over_tcp(netns: &Path, messages: Vec<Message>) -> Vec<Message> {
    let netns = netns.to_owned();
    blocking(move || {
        inside(&netns, || {
            let mut stream = TcpStream::connect((address(1), 53)).unwrap();
            stream.set_read_timeout(PATIENCE).unwrap();
            messages
                .iter()
                .map(|message| exchange(&mut stream, message))
                .collect()
        })
    })
    .await
}

fn exchange(stream: &mut TcpStream, message: &Message) -> Message {
    send(stream, message);
    receive(stream)
}

fn send(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    stream
        .write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes())
        .unwrap();
    stream.write_all(&bytes).unwrap();
}

fn receive(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[test]
fn names_resolve_over_udp_and_tcp_for_as_long_as_the_container_runs() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let web = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        network
            .setup(request("db", NetworkMode::Bridge))
            .await
            .unwrap();
        let web = web.netns.unwrap();
        let found = ask(&web, query("db.", RecordType::A)).await;
        assert_eq!(addresses(&found), [address(3)]);
        let by_id = ask(&web, query("db0000000000.", RecordType::A)).await;
        assert_eq!(addresses(&by_id), [address(3)]);
        let questions = vec![
            query("web.", RecordType::A),
            query("host.docker.internal.", RecordType::A),
        ];
        let replies = ask_over_tcp(&web, questions).await;
        assert_eq!(addresses(&replies[0]), [address(2)]);
        assert_eq!(addresses(&replies[1]), [Ipv4Addr::new(10, 0, 2, 2)]);
        network.teardown(&super::sandbox::id("db")).await.unwrap();
        let gone = ask(&web, query("db.", RecordType::A)).await;
        assert_eq!(
            gone.metadata.response_code,
            ResponseCode::ServFail,
            "no server to ask"
        );
    });
}

/// Starts a name server on the sandbox's loopback. It answers "small." with an
/// address, truncates "large." over UDP, and sends 3,000 bytes over TCP.
fn upstream() -> SocketAddr {
    let streams = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = streams.local_addr().unwrap();
    let datagrams = UdpSocket::bind(server).unwrap();
    let reply = |query: &Message, whole: bool| {
        let mut reply = query.clone();
        reply.metadata.message_type = MessageType::Response;
        let name = query.queries[0].name().clone();
        if name.to_ascii() == "small." {
            let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 80)));
            reply.add_answer(Record::from_rdata(name, 60, data));
        } else if whole {
            let data = RData::TXT(TXT::new(vec!["x".repeat(250); 12]));
            reply.add_answer(Record::from_rdata(name, 60, data));
        } else {
            reply.metadata.truncation = true;
        }
        reply
    };
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = datagrams.recv_from(&mut buffer) {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            // A forged reply first: it must not be taken.
            let mut forged = reply(&query, false);
            forged.metadata.id ^= 1;
            datagrams
                .send_to(&forged.to_vec().unwrap(), client)
                .unwrap();
            datagrams
                .send_to(&reply(&query, false).to_vec().unwrap(), client)
                .unwrap();
        }
    });
    thread::spawn(move || {
        while let Ok((mut stream, _)) = streams.accept() {
            let query = receive(&mut stream);
            send(&mut stream, &reply(&query, true));
        }
    });
    server
}

#[test]
fn other_names_are_asked_upstream_and_long_replies_come_over_tcp() {
    sandboxed(async |sandbox| {
        let network = Network::open(sandbox.options(&[upstream()])).unwrap();
        let web = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        let web = web.netns.unwrap();
        let small = ask(&web, query("small.", RecordType::A)).await;
        assert_eq!(addresses(&small), [Ipv4Addr::new(192, 0, 2, 80)]);
        let cut = ask(&web, query("large.", RecordType::TXT)).await;
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        assert_eq!(cut.queries, query("large.", RecordType::TXT).queries);
        let mut roomy = query("large.", RecordType::TXT);
        let mut edns = hickory_proto::op::Edns::new();
        edns.set_max_payload(4096);
        roomy.set_edns(edns);
        let whole = ask(&web, roomy).await;
        assert!(!whole.metadata.truncation);
        assert_eq!(
            whole.answers.len(),
            1,
            "fetched over TCP for a client with room"
        );
        let whole = ask_over_tcp(&web, vec![query("large.", RecordType::TXT)]).await;
        assert_eq!(whole[0].answers.len(), 1);
    });
}

#[test]
fn silent_server_ends_in_servfail_and_the_next_one_is_asked() {
    sandboxed(async |sandbox| {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent_address = silent.local_addr().unwrap();
        let network = Network::open(sandbox.options(&[silent_address, upstream()])).unwrap();
        let web = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        let web = web.netns.unwrap();
        let found = ask(&web, query("small.", RecordType::A)).await;
        assert_eq!(addresses(&found), [Ipv4Addr::new(192, 0, 2, 80)]);
    });
    sandboxed(async |sandbox| {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent_address = silent.local_addr().unwrap();
        let network = Network::open(sandbox.options(&[silent_address])).unwrap();
        let web = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        let failed = ask(&web.netns.unwrap(), query("small.", RecordType::A)).await;
        assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(failed.metadata.id, 4711);
    });
}
