//! Connections to published ports.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long a connection may stay silent before a test fails.
const SILENCE: Duration = Duration::from_secs(30);

/// Returns a TCP port of the loopback that nobody has.
///
/// # Errors
///
/// Where there is none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Returns the first of so many TCP ports in a row that nobody has on the
/// loopback, of IPv4 and IPv6: below those that systems choose by themselves, so
/// that nobody gets one of them meanwhile by chance.
///
/// # Errors
///
/// Where there are not as many.
pub fn free_range(count: u16) -> anyhow::Result<u16> {
    const FIRST: u16 = 10_000;
    const LAST: u16 = 32_767;
    let mut begin = FIRST;
    for port in FIRST..=LAST {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
        let taken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
        // A host without IPv6 has no such address to take.
        if v4.is_err() || v6.as_ref().is_err_and(taken) {
            begin = port + 1;
        } else if port - begin + 1 == count {
            return Ok(begin);
        }
    }
    anyhow::bail!("no {count} free ports in a row from {FIRST} to {LAST}")
}

/// Connects to a port of the loopback.
///
/// # Errors
///
/// Where nobody listens.
pub fn connect(port: u16) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, SILENCE)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(stream)
}

/// Sends a request, ends it, and returns the whole reply.
///
/// # Errors
///
/// Those of the connection.
pub fn request(port: u16, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(port)?;
    stream.write_all(request)?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(reply)
}
