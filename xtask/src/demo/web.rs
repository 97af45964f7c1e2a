//! Fetches a page through a published port.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Fetches the root page and returns its body.
pub(super) fn fetch(port: u16) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot connect to 127.0.0.1:{port}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        Some((head, _)) => bail!("the server answered: {}", head.lines().next().unwrap_or("")),
        None => bail!("the server closed the connection without an answer"),
    }
}

/// Fetches the page until it holds `words`: the server takes a moment to begin.
pub(super) fn fetch_until(port: u16, words: &str, limit: Duration) -> anyhow::Result<String> {
    let deadline = Instant::now() + limit;
    loop {
        match fetch(port) {
            Ok(page) if page.contains(words) => return Ok(page),
            last if Instant::now() > deadline => {
                return last.context("the web server did not answer in time");
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
