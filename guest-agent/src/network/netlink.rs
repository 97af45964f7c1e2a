//! A synchronous rtnetlink client: several requests leave in one datagram, and
//! the kernel works them off in order, so that a container costs two round
//! trips. The socket stays in the network namespace in which it was opened.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};

use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::prefix::Prefix;

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
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump(message, |message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(Link::from(link)),
            _ => None,
        })
    }

    /// Returns the networks that the namespace has routes to, each with the
    /// interface's index; default routes are not among them.
    pub(super) fn routes(&mut self) -> io::Result<Vec<(Prefix, u32)>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let message = RouteNetlinkMessage::GetRoute(message);
            routes.extend(self.dump(message, |message| match message {
                RouteNetlinkMessage::NewRoute(route) => destination(&route),
                _ => None,
            })?);
        }
        Ok(routes)
    }

    /// Asks for a whole table and returns what `take` makes of each entry.
    fn dump<T>(
        &mut self,
        message: RouteNetlinkMessage,
        take: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut buffer = Vec::new();
        self.append(&mut buffer, Request { message, flags: 0 }, NLM_F_DUMP);
        self.socket.send(&buffer, 0)?;
        let mut entries = Vec::new();
        loop {
            for message in self.receive()? {
                match message.payload {
                    NetlinkPayload::InnerMessage(entry) => entries.extend(take(entry)),
                    NetlinkPayload::Done(_) => return Ok(entries),
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

/// Returns where a route of the main table goes, and by which interface.
fn destination(route: &RouteMessage) -> Option<(Prefix, u32)> {
    let length = route.header.destination_prefix_length;
    if length == 0 || route.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let (mut network, mut interface) = (None, 0);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                network = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                network = Some(IpAddr::V6(*address));
            }
            RouteAttribute::Oif(index) => interface = *index,
            _ => {}
        }
    }
    Some((Prefix::of(network?, length), interface))
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
pub(super) fn create_bridge(name: &str, mac: [u8; 6], mtu: Option<u32>) -> Request {
    let mut message = link_up(name);
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
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

/// Bytes of TCP over IPv4 that go through the stack in one piece, up to where they
/// leave the machine; the kernel's own bound is 64 KiB (ip-link(8), BIG TCP). What
/// comes to a container through its published ports passes all of bridge, rules and
/// TCP a seventh as often. A piece has to fit in what the kernel holds as one, 17
/// fragments of 32 KiB.
const PIECE: u32 = 450_000;

/// The same of what a container sends: with larger ones, many connections that send
/// at once were slower.
const SENT_PIECE: u32 = 185_000;

/// Has what is sent on a bridge go in large pieces. The kernel takes it only once the
/// bridge has a port.
pub(super) fn enlarge_pieces(bridge: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = bridge;
    message
        .attributes
        .push(LinkAttribute::GsoIpv4MaxSize(PIECE));
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
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
    mtu: Option<u32>,
) -> Request {
    let mut peer = named(peer);
    peer.attributes
        .push(LinkAttribute::GsoIpv4MaxSize(SENT_PIECE));
    peer.attributes.extend(mtu.map(LinkAttribute::Mtu));
    peer.attributes
        .push(LinkAttribute::Address(peer_mac.to_vec()));
    peer.attributes
        .push(LinkAttribute::NetNsFd(peer_namespace.as_raw_fd()));
    let mut message = link_up(name);
    message
        .attributes
        .push(LinkAttribute::GsoIpv4MaxSize(PIECE));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
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

/// Keeps a port of a bridge from the other ports of which this was said.
pub(super) fn isolate_port(name: &str) -> Request {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(
            true,
        )])),
    ]));
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags: 0,
    }
}

/// Removes an interface, with its peer if it is one of a pair.
pub(super) fn delete_link(name: &str) -> Request {
    Request {
        message: RouteNetlinkMessage::DelLink(named(name)),
        flags: 0,
    }
}

/// Gives an interface an address; fine if it has it. One of IPv6 is not asked
/// about on the link first (RFC 4862, 5.4): nobody else gets it, and until that
/// is over it could not be used.
pub(super) fn add_address(index: u32, address: IpAddr, subnet: Prefix) -> Request {
    let mut message = AddressMessage::default();
    message.header.prefix_len = subnet.length();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    match subnet.last() {
        IpAddr::V4(broadcast) => {
            message.header.family = AddressFamily::Inet;
            message
                .attributes
                .push(AddressAttribute::Broadcast(broadcast));
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    Request {
        message: RouteNetlinkMessage::NewAddress(message),
        flags: NLM_F_CREATE | NLM_F_REPLACE,
    }
}

/// Sets the default route of the gateway's family.
pub(super) fn set_default_route(index: u32, gateway: IpAddr) -> Request {
    let mut message = RouteMessage::default();
    let (address_family, gateway) = match gateway {
        IpAddr::V4(gateway) => (AddressFamily::Inet, RouteAddress::Inet(gateway)),
        IpAddr::V6(gateway) => (AddressFamily::Inet6, RouteAddress::Inet6(gateway)),
    };
    message.header = RouteHeader {
        address_family,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes.push(RouteAttribute::Gateway(gateway));
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
