//! One attached client: a bulk stream, spoken from the shim's side without
//! blocking. See `wherry_proto::frame` for the frames.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use wherry_proto::frame::{HEADER_LENGTH, Kind, MAX_PAYLOAD, decode_header, encode_header};

use super::replay::Replay;
use super::stdio::Output;
use crate::runtime::protocol::AttachOptions;

/// How much may wait for a client before it is slow, bytes.
const OUTPUT_ROOM: usize = 256 * 1024;

/// How long a client may take to end its side after the last frame to it.
const LINGER: Duration = Duration::from_secs(10);

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Standard input, the first so many bytes of the buffer.
    Input(usize),
    /// The end of standard input.
    End,
    /// Nothing more for now.
    Nothing,
}

/// A client's stream.
#[derive(Debug)]
pub(super) struct Stream {
    socket: File,
    options: AttachOptions,
    /// It holds the container up rather than lose a byte.
    pub(super) foreground: bool,
    /// What it gets before it takes part in what happens now.
    pub(super) replay: Option<Replay>,
    /// Bytes of each output that it has had although the log has not.
    pub(super) ahead: [usize; 2],
    outgoing: Vec<u8>,
    written: usize,
    header: [u8; HEADER_LENGTH],
    header_read: usize,
    payload: usize,
    data: bool,
    /// It ended its side.
    input_ended: bool,
    /// Nothing can be read any more.
    read_closed: bool,
    /// The last frame is queued; when to give up on the rest.
    finished: Option<Instant>,
    broken: bool,
}

impl Stream {
    /// Takes a stream whose header was read, and accepts it.
    pub(super) fn accept(socket: OwnedFd, options: AttachOptions) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let mut stream = Self {
            socket: File::from(socket),
            options,
            foreground: false,
            replay: None,
            ahead: [0; 2],
            outgoing: Vec::new(),
            written: 0,
            header: [0; HEADER_LENGTH],
            header_read: 0,
            payload: 0,
            data: false,
            input_ended: false,
            read_closed: false,
            finished: None,
            broken: false,
        };
        // An empty StreamReply accepts: no bytes behind a length of zero.
        stream.queue(&[0; 4]);
        stream.flush();
        Ok(stream)
    }

    pub(super) fn wants(&self, output: Output) -> bool {
        match output {
            Output::Stdout => self.options.stdout,
            Output::Stderr => self.options.stderr,
        }
    }

    pub(super) fn wants_log(&self) -> bool {
        self.options.logs
    }

    pub(super) fn gives_input(&self) -> bool {
        self.options.stdin
    }

    /// Tells whether it reads more slowly than it is written to.
    pub(super) fn is_slow(&self) -> bool {
        self.pending() >= OUTPUT_ROOM
    }

    /// Queues output and sends what the socket takes.
    pub(super) fn send(&mut self, output: Output, bytes: &[u8]) {
        if self.finished.is_some() || !self.wants(output) {
            return;
        }
        let kind = match output {
            Output::Stdout => Kind::Stdout,
            Output::Stderr => Kind::Stderr,
        };
        for chunk in bytes.chunks(MAX_PAYLOAD) {
            self.queue(&encode_header(kind, chunk.len() as u32));
            self.queue(chunk);
        }
        self.flush();
    }

    /// Queues the last frames.
    pub(super) fn finish(&mut self, code: i32) {
        if self.finished.is_none() {
            self.queue(&encode_header(Kind::Exit, 4));
            self.queue(&code.to_be_bytes());
            self.queue(&encode_header(Kind::End, 0));
            self.finished = Some(Instant::now() + LINGER);
            self.flush();
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Tells whether there is nothing left to do with it. A socket closed with
    /// bytes unread would take away what the other side has not read yet, so
    /// it stays open until the client has ended its side, or its time is up.
    pub(super) fn is_done(&self) -> bool {
        let Some(until) = self.finished else {
            return self.broken;
        };
        let quiet = self.input_ended || self.read_closed || Instant::now() >= until;
        self.broken || (self.pending() == 0 && quiet)
    }

    /// Tells whether the client went away before its end.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Returns when [`Stream::is_done`] may change by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.finished
    }

    pub(super) fn to_poll(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn wants_to_read(&self) -> bool {
        !self.read_closed
    }

    pub(super) fn wants_to_write(&self) -> bool {
        self.pending() > 0
    }

    /// The other side closed both ways.
    pub(super) fn hung_up(&mut self) {
        self.broken = true;
    }

    /// Reads one piece of what the client sends.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        loop {
            if self.payload > 0 {
                let room = buffer.len().min(self.payload);
                let Some(count) = self.read(&mut buffer[..room]) else {
                    return Received::Nothing;
                };
                self.payload -= count;
                if self.data && !self.input_ended && self.options.stdin {
                    return Received::Input(count);
                }
                continue;
            }
            let mut rest = [0; HEADER_LENGTH];
            let missing = HEADER_LENGTH - self.header_read;
            let Some(count) = self.read(&mut rest[..missing]) else {
                return Received::Nothing;
            };
            self.header[self.header_read..self.header_read + count].copy_from_slice(&rest[..count]);
            self.header_read += count;
            if self.header_read < HEADER_LENGTH {
                continue;
            }
            self.header_read = 0;
            match decode_header(self.header) {
                Ok((Kind::End, 0)) if !self.input_ended => {
                    self.input_ended = true;
                    return Received::End;
                }
                Ok((kind, length)) => {
                    self.data = kind == Kind::Data;
                    self.payload = length;
                }
                // Nothing after this can be understood.
                Err(_) => {
                    self.broken = true;
                    return Received::Nothing;
                }
            }
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self) {
        self.flush_by(|mut socket, bytes| socket.write(bytes));
    }

    fn flush_by(&mut self, mut write: impl FnMut(&File, &[u8]) -> io::Result<usize>) {
        while self.pending() > 0 && !self.broken {
            match write(&self.socket, &self.outgoing[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A vsock transport out of buffers for now.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => break,
                Err(_) => self.broken = true,
            }
        }
        if self.pending() == 0 {
            // Idle clients hold no memory.
            self.outgoing = Vec::new();
            self.written = 0;
        } else if self.written > OUTPUT_ROOM {
            self.outgoing.drain(..self.written);
            self.written = 0;
        }
    }

    fn pending(&self) -> usize {
        self.outgoing.len() - self.written
    }

    fn queue(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => {
                    self.read_closed = true;
                    // Closing before End is a connection cut off.
                    self.broken |= !self.input_ended && self.finished.is_none();
                    return None;
                }
                Ok(count) => return Some(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.broken = true;
                    return None;
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A process being created may hold a copy of the descriptor for a moment.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// PITFALLS 6.
    #[test]
    fn what_there_was_no_buffer_for_waits() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::accept(ours.into(), AttachOptions::default()).unwrap();
        theirs.read_exact(&mut [0; 4]).unwrap();
        stream.queue(b"whole");
        stream.flush_by(|_, _| Err(io::Error::from_raw_os_error(libc::ENOBUFS)));
        assert!(!stream.broken);
        stream.flush();
        let mut bytes = [0; 5];
        theirs.read_exact(&mut bytes).unwrap();
        assert_eq!((&bytes, stream.pending()), (b"whole", 0));
    }
}
