//! Binding the host side of a port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use wherry_proto::v1::PublishedPort;

use super::error::PortError;
use crate::platform::{self, Protocol};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How many ports are tried where any will do and two addresses must agree.
const CHOICES: usize = 16;

/// A port to publish, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) container_port: u16,
    pub(super) protocol: Protocol,
    /// Where a container in the guest's own network listens.
    pub(super) container_address: Option<IpAddr>,
    address: Option<IpAddr>,
    /// The first and last port of which a free one is taken; 0: any.
    ports: (u16, u16),
}

impl TryFrom<&PublishedPort> for Wish {
    type Error = PortError;

    fn try_from(port: &PublishedPort) -> Result<Self, PortError> {
        let number = |number: u32| u16::try_from(number).map_err(|_| PortError::Number { number });
        let address = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| PortError::Address {
                text: text.to_owned(),
            }),
        };
        let first = number(port.host_port)?;
        Ok(Self {
            container_port: match number(port.container_port)? {
                0 => return Err(PortError::Number { number: 0 }),
                container_port => container_port,
            },
            protocol: match port.protocol.as_str() {
                "tcp" | "" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                other => {
                    return Err(PortError::Protocol {
                        text: other.to_owned(),
                    });
                }
            },
            container_address: address(&port.container_address)?,
            address: address(&port.host_address)?,
            ports: match number(port.host_port_last)? {
                0 => (first, first),
                last if first > 0 && last >= first => (first, last),
                last => return Err(PortError::Range { first, last }),
            },
        })
    }
}

impl Wish {
    /// Returns where to bind: what was named, else the default, which on the
    /// loopback and on all addresses is both IPv4 and IPv6.
    fn addresses(&self, default: IpAddr) -> (IpAddr, Option<IpAddr>) {
        match (self.address, default) {
            (Some(address), _) => (address, None),
            (None, IpAddr::V4(Ipv4Addr::LOCALHOST)) => (default, Some(Ipv6Addr::LOCALHOST.into())),
            (None, IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => {
                (default, Some(Ipv6Addr::UNSPECIFIED.into()))
            }
            (None, _) => (default, None),
        }
    }

    /// Returns how many descriptors the port takes.
    pub(super) fn descriptors(&self, default: IpAddr) -> u64 {
        1 + u64::from(self.addresses(default).1.is_some())
    }
}

/// The sockets of one published port.
pub(super) struct Bound {
    pub(super) wish: Wish,
    pub(super) sockets: Vec<(SocketAddr, HostSocket)>,
}

/// A socket that waits for clients.
pub(super) enum HostSocket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Bound {
    /// Returns the port as it was bound, once for each address.
    pub(super) fn published(&self) -> Vec<PublishedPort> {
        let published = |(address, _): &(SocketAddr, HostSocket)| PublishedPort {
            container_port: self.wish.container_port.into(),
            protocol: self.wish.protocol.name().to_owned(),
            host_address: address.ip().to_string(),
            host_port: address.port().into(),
            host_port_last: 0,
            container_address: self
                .wish
                .container_address
                .map_or_else(String::new, |address| address.to_string()),
        };
        self.sockets.iter().map(published).collect()
    }
}

/// Binds a port. To be called in a runtime.
pub(super) fn bind(wish: Wish, default: IpAddr) -> Result<Bound, PortError> {
    let (first, last) = wish.ports;
    let choices = match first {
        0 => CHOICES,
        first => usize::from(last - first) + 1,
    };
    let mut port = first;
    for left in (0..choices).rev() {
        match bind_both(&wish, wish.addresses(default), port) {
            Ok(sockets) => return Ok(Bound { wish, sockets }),
            Err(PortError::Taken { .. }) if left > 0 => {
                port = port.saturating_add((first > 0).into())
            }
            Err(PortError::Taken { address, .. }) if first != last => {
                return Err(PortError::AllTaken {
                    first,
                    last,
                    address: address.ip(),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Err(PortError::Range { first, last })
}

fn bind_both(
    wish: &Wish,
    (address, second): (IpAddr, Option<IpAddr>),
    port: u16,
) -> Result<Vec<(SocketAddr, HostSocket)>, PortError> {
    let (address, socket) = bind_one(wish, SocketAddr::new(address, port))?;
    let mut sockets = vec![(address, socket)];
    if let Some(second) = second {
        match bind_one(wish, SocketAddr::new(second, address.port())) {
            Ok(bound) => sockets.push(bound),
            // A host without IPv6.
            Err(PortError::NotHere { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// Binds sockets again that were lost.
pub(super) fn bind_again(wish: &Wish, address: SocketAddr) -> Result<HostSocket, PortError> {
    bind_one(wish, address).map(|(_, socket)| socket)
}

fn bind_one(wish: &Wish, address: SocketAddr) -> Result<(SocketAddr, HostSocket), PortError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => PortError::Taken {
            address,
            protocol: wish.protocol,
            container_port: wish.container_port,
            owner: None,
        },
        io::ErrorKind::PermissionDenied => PortError::Privileged {
            address,
            protocol: wish.protocol,
            container_port: wish.container_port,
        },
        io::ErrorKind::AddrNotAvailable => PortError::NotHere {
            address: address.ip(),
        },
        // EAFNOSUPPORT: the host's kernel has no IPv6.
        _ if address.is_ipv6() && platform::has_no_family(&source) => PortError::NotHere {
            address: address.ip(),
        },
        _ => PortError::Other { address, source },
    };
    open(wish.protocol, address).map_err(failed)
}

fn open(protocol: Protocol, address: SocketAddr) -> io::Result<(SocketAddr, HostSocket)> {
    let kind = match protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // 0.0.0.0 and :: are two addresses.
        socket.set_only_v6(true)?;
    }
    let any = address.port() == 0;
    if !any {
        reuse(&socket, protocol)?;
    }
    socket.bind(&address.into())?;
    if any {
        // Only now, because Linux takes a millisecond and more to choose a port
        // where it may be one with old connections.
        reuse(&socket, protocol)?;
    }
    match protocol {
        Protocol::Tcp => {
            socket.listen(BACKLOG)?;
            let listener = TcpListener::from_std(socket.into())?;
            Ok((listener.local_addr()?, HostSocket::Tcp(listener)))
        }
        Protocol::Udp => {
            let socket = UdpSocket::from_std(socket.into())?;
            Ok((socket.local_addr()?, HostSocket::Udp(socket)))
        }
    }
}

/// Lets a port be bound while old connections of it go on or wind down. (On
/// Windows that is so anyway, and the option of this name lets two programs have
/// the same port.)
fn reuse(socket: &Socket, protocol: Protocol) -> io::Result<()> {
    if cfg!(unix) && protocol == Protocol::Tcp {
        socket.set_reuse_address(true)?;
    }
    Ok(())
}
