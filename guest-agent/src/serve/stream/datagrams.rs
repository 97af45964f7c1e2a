//! The datagrams of a published port: frames of the host's stream on one side, a
//! socket towards the container on the other.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use wherry_proto::frame::{HEADER_LENGTH, Kind, decode_header, encode_header};

use super::Connection;

/// The largest datagram, bytes.
const DATAGRAM: usize = 65_535;

/// Bytes of frames that are read or written at once, as far as there are so many.
const AT_ONCE: usize = 64 * 1024;

/// Datagrams that the kernel takes at once at most (UDP_MAX_SEGMENTS in older ones).
const SEGMENTS: usize = 64;

/// The longest that it takes several of: an Ethernet packet without IPv6's and UDP's
/// headers.
const LONGEST_SEGMENT: usize = 1500 - 40 - 8;

/// Passes datagrams, one a frame, until the host ends the flow.
pub(super) async fn carry(connection: &Connection, socket: &UdpSocket) -> io::Result<()> {
    tokio::select! {
        ended = inwards(connection, socket) => ended,
        ended = outwards(connection, socket) => ended,
    }
}

async fn inwards(connection: &Connection, socket: &UdpSocket) -> io::Result<()> {
    let mut frames = Frames::new();
    let mut run = Run::default();
    loop {
        while let Some((kind, datagram)) = frames.next()? {
            if kind != Kind::Data {
                run.send(socket).await;
                return Ok(());
            }
            if !run.takes(datagram) {
                run.send(socket).await;
            }
            run.add(datagram);
        }
        run.send(socket).await;
        if frames.fill(connection).await? == 0 {
            return Ok(());
        }
    }
}

async fn outwards(connection: &Connection, socket: &UdpSocket) -> io::Result<()> {
    let mut datagram = vec![0; DATAGRAM];
    let mut frames = Vec::new();
    loop {
        match socket.recv(&mut datagram).await {
            Ok(length) => append(&mut frames, &datagram[..length]),
            // What an earlier datagram met, told by the kernel.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        }
        // What has come as well goes along.
        while frames.len() < AT_ONCE
            && let Ok(length) = socket.try_recv(&mut datagram)
        {
            append(&mut frames, &datagram[..length]);
        }
        connection.write_whole(&frames).await?;
        frames.clear();
    }
}

fn append(frames: &mut Vec<u8>, datagram: &[u8]) {
    // A datagram is shorter than a frame may be.
    frames.extend_from_slice(&encode_header(Kind::Data, datagram.len() as u32));
    frames.extend_from_slice(datagram);
}

/// Frames as they come, several a reading.
struct Frames {
    buffer: Vec<u8>,
    /// What was read and not taken yet.
    begin: usize,
    end: usize,
}

impl Frames {
    fn new() -> Self {
        Self {
            buffer: vec![0; HEADER_LENGTH + DATAGRAM + AT_ONCE],
            begin: 0,
            end: 0,
        }
    }

    /// Returns the next frame that is here whole.
    ///
    /// # Errors
    ///
    /// Where it is none, or longer than a datagram may be.
    fn next(&mut self) -> io::Result<Option<(Kind, &[u8])>> {
        let Some((header, rest)) = self.buffer[self.begin..self.end].split_first_chunk() else {
            return Ok(None);
        };
        let (kind, length) = decode_header(*header).map_err(io::Error::other)?;
        if length > DATAGRAM {
            return Err(io::Error::other(format!("a datagram of {length} bytes")));
        }
        let Some(datagram) = rest.get(..length) else {
            return Ok(None);
        };
        self.begin += HEADER_LENGTH + length;
        Ok(Some((kind, datagram)))
    }

    /// Reads more; returns how many bytes, 0 at the end.
    async fn fill(&mut self, connection: &Connection) -> io::Result<usize> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        let length = connection.read_some(&mut self.buffer[self.end..]).await?;
        self.end += length;
        Ok(length)
    }
}

/// Datagrams of one length, of which the last may be shorter: the kernel takes them
/// in one go (UDP_SEGMENT) and carries them as one packet as far as it can.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    /// The length of each but the last.
    segment: usize,
    count: usize,
}

impl Run {
    /// Tells whether the datagram can go with those that are here.
    fn takes(&self, datagram: &[u8]) -> bool {
        let whole = self.bytes.len() == self.count * self.segment;
        self.count == 0
            || whole
                && self.count < SEGMENTS
                && (1..=LONGEST_SEGMENT).contains(&self.segment)
                && (1..=self.segment).contains(&datagram.len())
                && self.bytes.len() + datagram.len() <= LARGEST_RUN
    }

    fn add(&mut self, datagram: &[u8]) {
        if self.count == 0 {
            self.segment = datagram.len();
        }
        self.bytes.extend_from_slice(datagram);
        self.count += 1;
    }

    /// Sends what is here. Datagrams may be lost, and nobody may listen yet.
    async fn send(&mut self, socket: &UdpSocket) {
        let together = self.count > 1 && self.send_together(socket).await.is_ok();
        if self.count == 1 {
            let _ = socket.send(&self.bytes).await;
        } else if !together {
            for datagram in self.bytes.chunks(self.segment.max(1)) {
                let _ = socket.send(datagram).await;
            }
        }
        self.bytes.clear();
        self.count = 0;
    }

    async fn send_together(&self, socket: &UdpSocket) -> io::Result<usize> {
        let segment = u16::try_from(self.segment).map_err(io::Error::other)?;
        socket
            .async_io(Interest::WRITABLE, || {
                let sent = sendmsg::<SockaddrIn>(
                    socket.as_raw_fd(),
                    &[IoSlice::new(&self.bytes)],
                    &[ControlMessage::UdpGsoSegments(&segment)],
                    MsgFlags::MSG_DONTWAIT,
                    None,
                );
                sent.map_err(io::Error::from)
            })
            .await
    }
}

/// The bytes of a run: a packet of IP with its headers is shorter than 64 KiB.
const LARGEST_RUN: usize = 65_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Sends datagrams of these lengths as runs, and returns what arrives.
    async fn through(lengths: &[usize]) -> Vec<Vec<u8>> {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(server.local_addr().unwrap()).await.unwrap();
        let mut run = Run::default();
        for (number, length) in lengths.iter().enumerate() {
            let datagram = vec![number as u8; *length];
            if !run.takes(&datagram) {
                run.send(&client).await;
            }
            run.add(&datagram);
        }
        run.send(&client).await;
        let mut received = Vec::new();
        let mut buffer = vec![0; DATAGRAM];
        for _ in lengths {
            let length = tokio::time::timeout(Duration::from_secs(20), server.recv(&mut buffer));
            let length = length.await.unwrap().unwrap();
            received.push(buffer[..length].to_vec());
        }
        received
    }

    #[tokio::test]
    async fn datagrams_that_go_together_arrive_one_by_one() {
        for lengths in [
            &[1400; 10][..],
            &[1400, 1400, 7, 1400],
            &[0, 0, 5, 5, 0],
            &[1],
            &[9000, 9000, 100],
            &[3; 70],
        ] {
            let received = through(lengths).await;
            let arrived: Vec<_> = received.iter().map(Vec::len).collect();
            assert_eq!(arrived, lengths);
            let in_order = |(number, datagram): (usize, &Vec<u8>)| {
                datagram.iter().all(|byte| usize::from(*byte) == number)
            };
            assert!(received.iter().enumerate().all(in_order), "{lengths:?}");
        }
    }

    #[test]
    fn a_run_is_of_one_length_and_not_too_long() {
        let mut run = Run::default();
        assert!(run.takes(&[0; 2000]));
        run.add(&[0; 2000]);
        // Longer than what the network carries in one piece.
        assert!(!run.takes(&[0; 2000]));
        let mut run = Run::default();
        run.add(&[0; 1000]);
        assert!(!run.takes(&[0; 1001]) && !run.takes(&[]));
        while run.takes(&[0; 1000]) {
            run.add(&[0; 1000]);
        }
        assert_eq!(run.count, SEGMENTS);
        let mut short = Run::default();
        short.add(&[0; 1000]);
        short.add(&[0; 10]);
        assert!(!short.takes(&[0; 10]));
    }
}
