//! Passing queries on to the upstream servers, and their replies back, both as
//! they are.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::answer::failure;

/// How long one server may take for one attempt. Resolvers ask again after
/// five seconds; two attempts fit.
const ATTEMPT: Duration = Duration::from_secs(2);

/// The attempts over all servers.
const ATTEMPTS: usize = 2;

/// The longest datagram that a server may send: more than any EDNS payload
/// size in use.
const LONGEST_DATAGRAM: usize = 4096;

/// Asks the servers in turn, over UDP, and over TCP for what does not fit into
/// a datagram. Returns a reply of at most `limit` bytes: a truncated one if the
/// whole is longer, SERVFAIL if no server answers.
pub(super) async fn forward(servers: &[SocketAddr], query: &[u8], limit: usize) -> Vec<u8> {
    for server in servers.iter().cycle().take(servers.len() * ATTEMPTS) {
        match timeout(ATTEMPT, ask_datagram(*server, query)).await {
            Ok(Ok(reply)) if !is_truncated(&reply) && reply.len() <= limit => return reply,
            Ok(Ok(reply)) => {
                return match timeout(ATTEMPT, ask_stream(*server, query)).await {
                    Ok(Ok(whole)) if whole.len() <= limit => whole,
                    // The client asks again over TCP.
                    _ => truncated(&reply),
                };
            }
            Ok(Err(error)) => tracing::debug!(%server, %error, "name server failed"),
            Err(_) => tracing::debug!(%server, "name server did not answer"),
        }
    }
    failure(query, ResponseCode::ServFail)
}

/// A new socket for each query: its port is half of what an off-path attacker
/// would have to guess (RFC 5452, 9.2).
async fn ask_datagram(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut reply = vec![0; LONGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut reply).await?;
        if is_reply_to(query, &reply[..length]) {
            reply.truncate(length);
            return Ok(reply);
        }
    }
}

async fn ask_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, query).await?;
    let reply = read_message(&mut stream).await?;
    if is_reply_to(query, &reply) {
        Ok(reply)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Reads a message behind its length (RFC 1035, 4.2.2).
pub(super) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message behind its length.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = Vec::with_capacity(message.len() + 2);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}

/// Tells whether this is a response with the query's identifier and question
/// (RFC 5452, 9.1). Servers may leave the question out of a failure.
fn is_reply_to(query: &[u8], reply: &[u8]) -> bool {
    if reply.len() < 12 || reply[..2] != query[..2] || reply[2] & 0x80 == 0 {
        return false;
    }
    match (question_end(query), question_end(reply)) {
        (Some(asked), Some(answered)) => {
            query[12..asked].eq_ignore_ascii_case(&reply[12..answered])
        }
        (_, None) => reply[4..6] == [0, 0],
        (None, Some(_)) => false,
    }
}

/// The TC bit (RFC 1035, 4.1.1).
fn is_truncated(reply: &[u8]) -> bool {
    reply[2] & 0x02 != 0
}

/// Returns the header and question of a reply, with the TC bit set.
fn truncated(reply: &[u8]) -> Vec<u8> {
    let question = question_end(reply);
    let mut cut = reply[..question.unwrap_or(12)].to_vec();
    cut[2] |= 0x02;
    let questions = u8::from(question.is_some());
    cut[4..12].copy_from_slice(&[0, questions, 0, 0, 0, 0, 0, 0]);
    cut
}

/// Returns where the only question ends, none if there is not just one.
fn question_end(message: &[u8]) -> Option<usize> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut position = 12;
    loop {
        match *message.get(position)? {
            0 => break,
            // A pointer in the first name of a message has nothing to point at.
            length if length >= 0xc0 => return None,
            length => position += usize::from(length) + 1,
        }
    }
    let end = position + 5;
    (end <= message.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn replies_of_any_bytes_are_judged_without_a_panic(
            query in proptest::collection::vec(any::<u8>(), 12..64),
            reply in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if is_reply_to(&query, &reply) {
                prop_assert!(reply.len() >= 12);
            }
            if reply.len() >= 12 {
                let cut = truncated(&reply);
                prop_assert!(is_truncated(&cut));
                prop_assert!(cut.len() <= reply.len());
            }
        }
    }

    #[test]
    fn reply_to_another_question_is_not_taken() {
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03foo\0\0\x01\0\x01";
        let mut reply = query.to_vec();
        reply[2] |= 0x80;
        assert!(is_reply_to(query, &reply));
        reply[13] = b'F';
        assert!(is_reply_to(query, &reply), "case is the server's choice");
        reply[13] = b'g';
        assert!(!is_reply_to(query, &reply));
    }
}
