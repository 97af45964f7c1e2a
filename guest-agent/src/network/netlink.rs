//! A synchronous rtnetlink client: several requests leave in one datagram, and
//! the kernel works them off in order, so that a container costs two round
//! trips. The socket stays in the network namespace in which it was opened.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// One request and its NLM_F flags.
pub(super) struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
}

/// A socket to the kernel's network configuration.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// An interface, as far as anybody here asks.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// The index of the bridge that it is a port of.
    pub(super) controller: Option<u32>,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends all requests at once and waits until each is answered. All are
    /// tried; the error is the first one's.
    pub(super) fn execute(&mut self, requests: Vec<Request>) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut outstanding = requests.len();
        let mut buffer = Vec::with_capacity(1024);
        for request in requests {
            self.append(&mut buffer, request, NLM_F_ACK);
        }
        self.socket.send(&buffer, 0)?;
        let mut failure = None;
        while outstanding > 0 {
            for message in self.receive()? {
                if message.header.sequence_number < first {
                    continue;
                }
                if let NetlinkPayload::Error(answer) = message.payload {
                    outstanding -= 1;
                    if answer.code.is_some() && failure.is_none() {
                        failure = Some(answer.to_io());
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Returns all interfaces of the namespace.
    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut buffer = Vec::new();
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.append(&mut buffer, Request { message, flags: 0 }, NLM_F_DUMP);
        self.socket.send(&buffer, 0)?;
        let mut links = Vec::new();
        loop {
            for message in self.receive()? {
                match message.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                        links.push(Link::from(link));
                    }
                    NetlinkPayload::Done(_) => return Ok(links),
                    NetlinkPayload::Error(answer) if answer.code.is_some() => {
                        return Err(answer.to_io());
                    }
                    _ => {}
                }
            }
        }
    }

    fn append(&mut self, buffer: &mut Vec<u8>, request: Request, flags: u16) {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(request.message);
        message.header.flags = NLM_F_REQUEST | request.flags | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = buffer.len();
        buffer.resize(start + message.buffer_len(), 0);
        message.serialize(&mut buffer[start..]);
    }

    /// Returns the messages of one datagram.
    fn receive(&self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (datagram, _) = loop {
            match self.socket.recv_from_full() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let mut messages = Vec::new();
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            // NLMSG_ALIGN; a length below the header's own does not deserialize.
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            messages.push(message);
        }
        Ok(messages)
    }
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            controller: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Controller(index) => link.controller = Some(index),
                _ => {}
            }
        }
        link
    }
}

/// Returns a link message by name.
fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    message
}

/// Returns a link message by name that brings the interface up.
fn link_up(name: &str) -> LinkMessage {
    let mut message = named(name);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

/// Brings an interface up.
pub(super) fn set_up(name: &str) -> Request {
    Request {
        message: RouteNetlinkMessage::SetLink(link_up(name)),
        flags: 0,
    }
}

/// Makes a bridge and brings it up. Its hardware address is fixed: left alone
/// it would change with the ports, and containers would hold a stale one.
pub(super) fn create_bridge(name: &str, mac: [u8; 6]) -> Request {
    let mut message = link_up(name);
    message
        .attributes
        .push(LinkAttribute::Address(mac.to_vec()));
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
            InfoKind::Bridge,
        )]));
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}

/// Makes a veth pair: `name` here as a port of the bridge, `peer` in the other
/// namespace. Only the end here is up: the kernel makes the peer first, and to
/// bring it up before its pair exists is ENOTCONN (veth_open).
pub(super) fn create_veth(
    name: &str,
    bridge: u32,
    peer: &str,
    peer_mac: [u8; 6],
    peer_namespace: BorrowedFd<'_>,
) -> Request {
    let mut peer = named(peer);
    peer.attributes
        .push(LinkAttribute::Address(peer_mac.to_vec()));
    peer.attributes
        .push(LinkAttribute::NetNsFd(peer_namespace.as_raw_fd()));
    let mut message = link_up(name);
    message.attributes.push(LinkAttribute::Controller(bridge));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}

/// Removes an interface, with its peer if it is one of a pair.
pub(super) fn delete_link(name: &str) -> Request {
    Request {
        message: RouteNetlinkMessage::DelLink(named(name)),
        flags: 0,
    }
}

/// Gives an interface an address; fine if it has it.
pub(super) fn add_address(
    index: u32,
    address: Ipv4Addr,
    prefix_length: u8,
    broadcast: Ipv4Addr,
) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix_length;
    message.header.index = index;
    message
        .attributes
        .push(AddressAttribute::Local(address.into()));
    message
        .attributes
        .push(AddressAttribute::Address(address.into()));
    message
        .attributes
        .push(AddressAttribute::Broadcast(broadcast));
    Request {
        message: RouteNetlinkMessage::NewAddress(message),
        flags: NLM_F_CREATE | NLM_F_REPLACE,
    }
}

/// Sets the default route.
pub(super) fn set_default_route(index: u32, gateway: Ipv4Addr) -> Request {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message
        .attributes
        .push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
    message.attributes.push(RouteAttribute::Oif(index));
    Request {
        message: RouteNetlinkMessage::NewRoute(message),
        flags: NLM_F_CREATE | NLM_F_REPLACE,
    }
}

/// Returns the index of an interface of the calling thread's namespace.
pub(super) fn interface_index(name: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(name)?)
}
