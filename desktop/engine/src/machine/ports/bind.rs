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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) container_port: u16,
    pub(super) protocol: Protocol,
    address: Option<IpAddr>,
    /// 0: any.
    port: u16,
}

impl TryFrom<&PublishedPort> for Wish {
    type Error = PortError;

    fn try_from(port: &PublishedPort) -> Result<Self, PortError> {
        let number = |number: u32| u16::try_from(number).map_err(|_| PortError::Number { number });
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
            address: match port.host_address.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|_| PortError::Address {
                    text: text.to_owned(),
                })?),
            },
            port: number(port.host_port)?,
        })
    }
}

/// The sockets of one published port.
pub(super) struct Bound {
    pub(super) wish: Wish,
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<HostSocket>,
}

/// A socket that waits for clients.
pub(super) enum HostSocket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Bound {
    /// Returns the port as it was bound.
    pub(super) fn published(&self) -> PublishedPort {
        PublishedPort {
            container_port: self.wish.container_port.into(),
            protocol: match self.wish.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            }
            .to_owned(),
            host_address: self.address.ip().to_string(),
            host_port: self.address.port().into(),
        }
    }
}

/// Binds a port. Where no address is wished for, on the loopback of IPv4, and
/// on that of IPv6 too if the host has one.
pub(super) fn bind(wish: Wish) -> Result<Bound, PortError> {
    let Some(address) = wish.address else {
        return bind_loopback(wish);
    };
    let (address, socket) = bind_one(&wish, SocketAddr::new(address, wish.port))?;
    Ok(Bound {
        wish,
        address,
        sockets: vec![socket],
    })
}

fn bind_loopback(wish: Wish) -> Result<Bound, PortError> {
    let mut choices = if wish.port == 0 { CHOICES } else { 1 };
    loop {
        choices -= 1;
        let wished = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), wish.port);
        let (address, socket) = bind_one(&wish, wished)?;
        let mut sockets = vec![socket];
        let second = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port());
        match bind_one(&wish, second) {
            Ok((_, socket)) => sockets.push(socket),
            Err(PortError::Taken { .. }) if choices > 0 => continue,
            Err(error @ PortError::Taken { .. }) => return Err(error),
            // A host without IPv6.
            Err(_) => {}
        }
        return Ok(Bound {
            wish,
            address,
            sockets,
        });
    }
}

fn bind_one(wish: &Wish, address: SocketAddr) -> Result<(SocketAddr, HostSocket), PortError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => PortError::Taken {
            address,
            protocol: wish.protocol,
            container_port: wish.container_port,
            owner: platform::port_owner(wish.protocol, address)
                .unwrap_or_else(|| "another program".to_owned()),
        },
        io::ErrorKind::PermissionDenied => PortError::Privileged {
            address,
            protocol: wish.protocol,
            container_port: wish.container_port,
        },
        io::ErrorKind::AddrNotAvailable => PortError::NotHere {
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
