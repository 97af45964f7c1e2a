//! One connection of `serve`'s.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::runtime::protocol::{Reply, Request, encode, take};

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Tells connections apart, also after one has gone.
    pub(super) id: u64,
    socket: UnixStream,
    incoming: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
    outgoing: Vec<u8>,
    pub(super) closed: bool,
}

impl Connection {
    pub(super) fn new(id: u64, socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            id,
            socket,
            incoming: Vec::new(),
            descriptors: VecDeque::new(),
            outgoing: Vec::new(),
            closed: false,
        })
    }

    pub(super) fn to_poll(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn wants_to_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Reads what has come; returns the requests that are whole, each with its
    /// descriptor.
    pub(super) fn receive(&mut self) -> Vec<(Request, Option<OwnedFd>)> {
        let mut requests = Vec::new();
        self.read_all();
        loop {
            match take(&mut self.incoming) {
                Ok(Some(message)) => match serde_json::from_slice::<Request>(&message) {
                    Ok(request) => {
                        let descriptor = request
                            .descriptor
                            .then(|| self.descriptors.pop_front())
                            .flatten();
                        requests.push((request, descriptor));
                    }
                    Err(error) => {
                        eprintln!("a request that is none: {error}");
                        self.closed = true;
                        break;
                    }
                },
                Ok(None) => break,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        requests
    }

    /// Reads what has come, without looking at it.
    pub(super) fn read_all(&mut self) {
        while let Ok(Some(())) = self.read() {}
    }

    fn read(&mut self) -> io::Result<Option<()>> {
        let mut chunk = [0; 4096];
        let mut control = cmsg_space!([RawFd; 4]);
        let mut parts = [IoSliceMut::new(&mut chunk)];
        let message = match recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(nix::Error::EINTR) => return Ok(Some(())),
            Err(error) => {
                self.closed = true;
                return Err(error.into());
            }
        };
        let count = message.bytes;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                // SAFETY: the kernel has just made them for this process.
                let owned = descriptors
                    .into_iter()
                    .map(|raw| unsafe { OwnedFd::from_raw_fd(raw) });
                self.descriptors.extend(owned);
            }
        }
        if count == 0 {
            self.closed = true;
            return Ok(None);
        }
        self.incoming.extend_from_slice(&chunk[..count]);
        Ok(Some(()))
    }

    /// Takes a descriptor that came with no request.
    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    pub(super) fn send(&mut self, reply: &Reply) {
        self.outgoing.extend_from_slice(&encode(reply));
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        while !self.outgoing.is_empty() && !self.closed {
            match self.socket.write(&self.outgoing) {
                Ok(count) => {
                    self.outgoing.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.closed = true,
            }
        }
        self.outgoing = Vec::new();
    }
}
