//! Connections to a container's port: the host's published ports end here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tonic::Status;
use wherry_proto::frame::{HEADER_LENGTH, Kind, decode_header, encode_header, write_frame};
use wherry_proto::v1::PortStream;

use super::{Agent, Connection, accept, datagrams, refuse};
use crate::container::{Container, Status as ContainerStatus};

/// Bytes on their way in one direction of one connection.
const BUFFER: usize = 64 * 1024;

/// Connects to a container's port and copies until both sides are done.
pub(super) async fn serve(
    agent: &Arc<Agent>,
    request: PortStream,
    mut connection: Connection,
) -> io::Result<()> {
    let container = match agent.containers.find(&request.container) {
        Ok(container) => container,
        Err(error) => return refuse(&mut connection, &error.into()).await,
    };
    if container.watch().borrow().status != ContainerStatus::Running {
        let message = format!("container {} is not running", container.id);
        return refuse(&mut connection, &Status::failed_precondition(message)).await;
    }
    let port = match u16::try_from(request.port) {
        Ok(port) if port > 0 => port,
        _ => {
            let status = Status::invalid_argument(format!("invalid port: {}", request.port));
            return refuse(&mut connection, &status).await;
        }
    };
    let address = match host_address(&container, &request.address) {
        Ok(address) => address,
        Err(status) => return refuse(&mut connection, &status).await,
    };
    if request.check {
        return accept(&mut connection).await;
    }
    let network = agent.containers.network();
    let unavailable = |error: crate::network::NetworkError| Status::unavailable(error.to_string());
    match request.protocol.as_str() {
        "tcp" | "" => {
            let connected = match address {
                Some(address) => connect_tcp((address, port).into()).await,
                None => network
                    .connect_tcp(&container.id, port)
                    .await
                    .map_err(unavailable),
            };
            match connected {
                Ok(socket) => {
                    accept(&mut connection).await?;
                    tcp(connection, socket).await
                }
                Err(status) => refuse(&mut connection, &status).await,
            }
        }
        "udp" => {
            let connected = match address {
                Some(address) => connect_udp((address, port).into()).await,
                None => network
                    .connect_udp(&container.id, port)
                    .await
                    .map_err(unavailable),
            };
            match connected {
                Ok(socket) => {
                    accept(&mut connection).await?;
                    datagrams::carry(&connection, &socket).await
                }
                Err(status) => refuse(&mut connection, &status).await,
            }
        }
        other => {
            let status = Status::invalid_argument(format!("invalid protocol: {other}"));
            refuse(&mut connection, &status).await
        }
    }
}

/// Returns where a container in the guest's own network listens, if that was
/// said. No other container's connections may go anywhere in that network.
fn host_address(container: &Container, text: &str) -> Result<Option<IpAddr>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text
        .parse()
        .map_err(|_| Status::invalid_argument(format!("invalid address: {text}")))?;
    if container.record().spec.network == "host" {
        Ok(Some(address))
    } else {
        Err(Status::invalid_argument(
            "an address is only for containers in the guest's own network",
        ))
    }
}

/// Connects in the guest's own network.
async fn connect_tcp(address: SocketAddr) -> Result<TcpStream, Status> {
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        io::Result::Ok(stream)
    };
    connect
        .await
        .map_err(|error| Status::unavailable(format!("cannot connect to {address}: {error}")))
}

async fn connect_udp(address: SocketAddr) -> Result<UdpSocket, Status> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connect = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(address).await?;
        io::Result::Ok(socket)
    };
    connect
        .await
        .map_err(|error| Status::unavailable(format!("cannot send to {address}: {error}")))
}

/// Copies both ways. Each end of input is passed on by itself; a connection
/// that breaks on one side breaks on the other, so that neither takes half a
/// reply for a whole one.
async fn tcp(connection: Connection, mut socket: TcpStream) -> io::Result<()> {
    let (from_host, to_host) = tokio::io::split(connection);
    let (from_container, to_container) = socket.split();
    let copied = tokio::try_join!(
        host_to_container(from_host, to_container),
        container_to_host(from_container, to_host),
    );
    if copied.is_err() {
        // Reset, not closed. The host sees its stream close without an End,
        // which says the same.
        let _ = socket.set_zero_linger();
    }
    copied.map(drop)
}

/// Copies the payload of Data frames, until End.
pub(super) async fn host_to_container(
    mut host: impl AsyncRead + Unpin,
    mut container: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut header = [0; HEADER_LENGTH];
        host.read_exact(&mut header).await?;
        let (kind, mut left) = decode_header(header).map_err(io::Error::other)?;
        match kind {
            Kind::Data => {}
            Kind::End => return container.shutdown().await,
            other => return Err(io::Error::other(format!("an unexpected frame: {other:?}"))),
        }
        while left > 0 {
            let room = left.min(BUFFER);
            let length = host.read(&mut buffer[..room]).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            container.write_all(&buffer[..length]).await?;
            left -= length;
        }
    }
}

/// Copies what a container sends into Data frames, and its end into End.
pub(super) async fn container_to_host(
    mut container: impl AsyncRead + Unpin,
    mut host: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    // The header stands before the bytes, so that both go out in one write.
    let mut buffer = vec![0; HEADER_LENGTH + BUFFER];
    loop {
        let length = container.read(&mut buffer[HEADER_LENGTH..]).await?;
        if length == 0 {
            return write_frame(&mut host, Kind::End, &[]).await;
        }
        buffer[..HEADER_LENGTH].copy_from_slice(&encode_header(Kind::Data, length as u32));
        host.write_all(&buffer[..HEADER_LENGTH + length]).await?;
    }
}
