//! The server inside the guest for the tests and figures of published ports.
//! Compiled with plain `rustc`, without crates, so that it runs in an empty image.
//!
//! Port 5001 counts what comes and says how much it was, 5002 sends
//! as many bytes as an 8-byte number in little endian asks for, 5003 echoes, 5004
//! closes at once, 5006 tells the time in nanoseconds since 1970, 5007
//! resets whoever sent it two bytes. Of datagrams, 5005 echoes them behind the two bytes of the
//! client's port.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::UNIX_EPOCH;

const CHUNK: usize = 256 << 10;

fn main() {
    let servers: [(u16, fn(TcpStream) -> std::io::Result<()>); 6] = [
        (5001, count),
        (5002, send),
        (5003, echo),
        (5004, close),
        (5006, time),
        (5007, reset),
    ];
    let threads: Vec<_> = servers
        .into_iter()
        .map(|(port, serve)| {
            let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    thread::spawn(move || serve(stream));
                }
            })
        })
        .collect();
    let socket = UdpSocket::bind(("0.0.0.0", 5005)).unwrap();
    let mut buffer = vec![0; 65_535];
    while let Ok((length, client)) = socket.recv_from(&mut buffer[2..]) {
        buffer[..2].copy_from_slice(&client.port().to_be_bytes());
        // The largest has no room for the port.
        let length = (length + 2).min(65_507);
        let _ = socket.send_to(&buffer[..length], client);
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

fn count(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return write!(stream, "{total}"),
            length => total += length,
        }
    }
}

fn send(mut stream: TcpStream) -> std::io::Result<()> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let mut left = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    let buffer = vec![0; CHUNK];
    while left > 0 {
        let now = left.min(CHUNK);
        stream.write_all(&buffer[..now])?;
        left -= now;
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.shutdown(Shutdown::Write),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn close(_: TcpStream) -> std::io::Result<()> {
    Ok(())
}

fn time(mut stream: TcpStream) -> std::io::Result<()> {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    write!(stream, "{}", now.as_nanos())
}

fn reset(mut stream: TcpStream) -> std::io::Result<()> {
    while stream.peek(&mut [0; 2])? < 2 {}
    // What is closed with something unread is reset, RFC 2525 (2.17).
    stream.read_exact(&mut [0])
}
