//! One connection with its buffers and the tasks that wait on it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::connection::{Closed, Connection, Packet, Payload, Phase};
use crate::ring::Ring;

#[cfg(test)]
mod model;

/// Bytes that wait at most in each direction of a connection.
pub(crate) const WINDOW: u32 = 256 * 1024;

/// The two ports of a connection. The host's are never used twice at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ports {
    pub(crate) host: u32,
    pub(crate) guest: u32,
}

/// One connection, shared by its [`Stream`](crate::Stream) and the device.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) ports: Ports,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) connection: Connection,
    pub(crate) received: Ring,
    pub(crate) outgoing: Ring,
    /// Whether the endpoint stands in a list of those with something to send.
    pub(crate) scheduled: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    opener: Option<Waker>,
}

/// Tasks to wake once the endpoint's lock is released.
#[derive(Default)]
#[must_use]
pub(crate) struct Wakers([Option<Waker>; 3]);

impl Wakers {
    pub(crate) fn wake(self) {
        for waker in self.0.into_iter().flatten() {
            waker.wake();
        }
    }
}

impl Endpoint {
    pub(crate) fn new(ports: Ports) -> Self {
        Self::with_window(ports, WINDOW)
    }

    fn with_window(ports: Ports, window: u32) -> Self {
        Self {
            ports,
            state: Mutex::new(State {
                connection: Connection::connecting(window),
                received: Ring::new(window as usize),
                outgoing: Ring::new(window as usize),
                scheduled: false,
                reader: None,
                writer: None,
                opener: None,
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Marks the endpoint as scheduled when it has something to send and is not
    /// scheduled yet. The caller then puts it into a list.
    pub(crate) fn schedule(&mut self) -> bool {
        if self.scheduled || !self.connection.wants_to_send(self.outgoing.len()) {
            return false;
        }
        self.scheduled = true;
        true
    }

    /// Takes in a packet. `copy` moves the payload into the two pieces of the
    /// receive buffer and tells whether it could.
    pub(crate) fn receive(
        &mut self,
        packet: Packet,
        copy: impl FnOnce(&mut [u8], &mut [u8]) -> bool,
    ) -> Wakers {
        let was_open = self.connection.can_send();
        if self.connection.receive(packet) == Payload::Keep && packet.len > 0 {
            let (front, back) = self.received.spare(packet.len as usize);
            if copy(front, back) {
                self.received.commit(packet.len as usize);
            } else {
                self.connection.violate();
            }
        }
        self.after_change(was_open, packet.len > 0)
    }

    /// Applies a change that ends the connection, such as the loss of the guest.
    pub(crate) fn end(&mut self, change: impl FnOnce(&mut Connection)) -> Wakers {
        change(&mut self.connection);
        self.after_change(true, true)
    }

    fn after_change(&mut self, could_send: bool, arrived: bool) -> Wakers {
        if self.connection.discards_outgoing() {
            self.outgoing.clear();
        }
        let mut wakers = Wakers::default();
        if arrived || self.connection.receive_ended() {
            wakers.0[0] = self.reader.take();
        }
        if could_send && !self.connection.can_send() {
            wakers.0[1] = self.writer.take();
        }
        if self.connection.phase() != Phase::Connecting {
            wakers.0[2] = self.opener.take();
        }
        wakers
    }

    /// Removes `count` bytes that were sent.
    pub(crate) fn sent(&mut self, count: usize) -> Wakers {
        self.outgoing.consume(count);
        let mut wakers = Wakers::default();
        // A writer that waits sleeps until half of the buffer is free, so that
        // it is not woken for every packet.
        if self.outgoing.len() <= self.outgoing.free() {
            wakers.0[1] = self.writer.take();
        }
        if self.connection.request_sent() {
            wakers.0[2] = self.opener.take();
        }
        wakers
    }

    /// Ends the stream's side: what waits is still sent, what arrives is dropped.
    pub(crate) fn close(&mut self) {
        self.connection.close();
        let unread = self.received.len();
        self.received.clear();
        self.connection.consume(unread as u32);
        if self.connection.discards_outgoing() {
            self.outgoing.clear();
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        context: &Context<'_>,
        capacity: usize,
        mut copy: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            if self.connection.receive_ended() {
                return Poll::Ready(match self.connection.phase() {
                    Phase::Closed(Closed::Reset | Closed::Refused) => {
                        Err(io::ErrorKind::ConnectionReset.into())
                    }
                    _ => Ok(()),
                });
            }
            set(&mut self.reader, context);
            return Poll::Pending;
        }
        let (front, back) = self.received.front(capacity);
        let count = front.len() + back.len();
        copy(front);
        copy(back);
        self.received.consume(count);
        self.connection.consume(count as u32);
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_write(
        &mut self,
        context: &Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.connection.can_send() {
            return Poll::Ready(Err(match self.connection.phase() {
                Phase::Closed(Closed::Reset | Closed::Refused) => io::ErrorKind::ConnectionReset,
                _ => io::ErrorKind::BrokenPipe,
            }
            .into()));
        }
        let mut written = 0;
        let mut wanted = 0;
        for piece in pieces {
            wanted += piece.len();
            written += self.outgoing.push(piece);
            if written < wanted {
                break;
            }
        }
        if written == 0 && wanted > 0 {
            set(&mut self.writer, context);
            return Poll::Pending;
        }
        Poll::Ready(Ok(written))
    }

    /// Waits until the request has been sent or the connection is closed.
    pub(crate) fn poll_requested(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.connection.request_sent() || self.connection.phase() != Phase::Connecting {
            return Poll::Ready(());
        }
        set(&mut self.opener, context);
        Poll::Pending
    }

    /// Waits until the request is answered.
    pub(crate) fn poll_answered(&mut self, context: &Context<'_>) -> Poll<Phase> {
        if self.connection.phase() == Phase::Connecting {
            set(&mut self.opener, context);
            return Poll::Pending;
        }
        Poll::Ready(self.connection.phase())
    }
}

fn set(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(context.waker()),
        None => *slot = Some(context.waker().clone()),
    }
}
