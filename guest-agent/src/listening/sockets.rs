//! The sockets that wait for clients in the agent's own network, as the kernel
//! lists them (sock_diag(7), linux/inet_diag.h).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// States of sockets that wait: listening ones, and unconnected ones of datagrams.
const LISTEN: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;

/// Attributes of an answer.
const SKV6ONLY: u16 = 11;
const CGROUP_ID: u16 = 21;

/// Bytes of `struct nlmsghdr` and of `struct inet_diag_msg`.
const HEADER: usize = 16;
const MESSAGE: usize = 72;

/// A socket that waits for clients.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiting {
    /// `"tcp"` or `"udp"`.
    pub(super) protocol: &'static str,
    pub(super) port: u16,
    /// Where it is reached from inside.
    pub(super) address: IpAddr,
    /// The cgroup that the socket was made in.
    pub(super) cgroup: u64,
}

/// Lists the sockets. Blocks for as long as the kernel takes, which is little.
pub(super) fn waiting() -> io::Result<Vec<Waiting>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (protocol, name, states) in [
            (libc::IPPROTO_TCP, "tcp", LISTEN),
            (libc::IPPROTO_UDP, "udp", UNCONNECTED),
        ] {
            socket.send(&request(family as u8, protocol as u8, states), 0)?;
            while let Some(answer) = next(&socket)? {
                let done = each_message(&answer, |message| {
                    found.extend(parse(message, name));
                })?;
                if done {
                    break;
                }
            }
        }
    }
    Ok(found)
}

fn next(socket: &Socket) -> io::Result<Option<Vec<u8>>> {
    let (answer, _) = socket.recv_from_full()?;
    Ok((!answer.is_empty()).then_some(answer))
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(family: u8, protocol: u8, states: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MESSAGE);
    bytes.extend(72u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, protocol, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    // Any socket.
    bytes.extend([0; 48]);
    bytes
}

/// Calls a function with each message of a datagram. True: it was the last.
fn each_message(mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    while let Some(header) = bytes.get(..HEADER) {
        let length = number(header, 0) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(message) = bytes.get(HEADER..length) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = message.get(..4).map_or(0, |code| number(code, 0) as i32);
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => each(message),
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// Reads `struct inet_diag_msg` and its attributes.
fn parse(message: &[u8], protocol: &'static str) -> Option<Waiting> {
    let family = i32::from(*message.first()?);
    let port = u16::from_be_bytes([*message.get(4)?, *message.get(5)?]);
    let source = message.get(8..24)?;
    let (mut cgroup, mut v6_only) = (0, false);
    let mut attributes = message.get(MESSAGE..)?;
    while let Some(header) = attributes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(4..length)?;
        match u16::from_ne_bytes([header[2], header[3]]) {
            CGROUP_ID => cgroup = u64::from_ne_bytes(value.try_into().ok()?),
            SKV6ONLY => v6_only = value.first() == Some(&1),
            _ => {}
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    let address = match family {
        libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(&source[..4]).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(source).ok()?),
    };
    let address = match address.to_canonical() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if v6_only => Ipv6Addr::LOCALHOST.into(),
        address if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        address => address,
    };
    Some(Waiting {
        protocol,
        port,
        address,
        cgroup,
    })
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn aligned(length: usize) -> usize {
    // Never zero, so that a malformed list ends.
    length.max(4).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sockets_of_this_process_are_found_where_they_are_reached() {
        let tcp = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let dual = std::net::TcpListener::bind("[::]:0").unwrap();
        let one = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let found = waiting().unwrap();
        for (protocol, port, address) in [
            ("tcp", tcp.local_addr().unwrap().port(), "127.0.0.1"),
            ("tcp", dual.local_addr().unwrap().port(), "127.0.0.1"),
            ("udp", one.local_addr().unwrap().port(), "::1"),
        ] {
            let expected: IpAddr = address.parse().unwrap();
            assert!(
                found.iter().any(|socket| socket.protocol == protocol
                    && socket.port == port
                    && socket.address == expected),
                "{protocol} {port}"
            );
        }
        drop(tcp);
        let connected = std::net::TcpStream::connect(dual.local_addr().unwrap());
        if let Ok(connected) = connected {
            let port = connected.local_addr().unwrap().port();
            assert!(waiting().unwrap().iter().all(|socket| socket.port != port));
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = each_message(&bytes, |message| { let _ = parse(message, "tcp"); });
        }
    }
}
