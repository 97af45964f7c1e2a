//! Connections to a container's port: the host's published ports end here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpStream, UdpSocket};
use tonic::Status;
use wherry_proto::v1::PortStream;

use super::{Agent, Connection, accept, bytes, datagrams, refuse};
use crate::container::{Container, Status as ContainerStatus};

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
                    bytes::carry(&connection, socket).await
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
