//! The state machine of one connection: packets and calls in, decisions out.
//!
//! It does no I/O and holds no payload. Whoever drives it keeps two byte
//! queues, and tells it how many bytes wait to be sent and how many were read.
//! Credit follows virtio 1.2, section 5.10.6.3: each side tells how large its
//! buffer is (`buf_alloc`) and how many bytes have left it (`fwd_cnt`), and the
//! other never has more in flight than fits.

use std::num::Wrapping;

use crate::packet::{MAX_PAYLOAD, Operation, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};

/// What a peer may have in flight at first, in bytes.
///
/// Credit counts payload, but each packet that a Linux guest has not yet handed
/// over costs it about 1 KiB of kernel memory. A few programs that write single
/// bytes into a window of 256 KiB each have been seen to take a guest of 512 MiB
/// down. So the window grows only with packets that are worth it. It never
/// shrinks: kernels up to 6.1 compute the credit left without a sign.
const FIRST_WINDOW: u32 = 16 * 1024;

/// Packets of this size, in bytes, make the window grow.
const LARGE_PACKET: u32 = 2048;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The request is not answered yet.
    Connecting,
    /// Data may flow.
    Open,
    /// Nothing is sent any more, apart from a last reset.
    Closed(Closed),
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Both sides had finished.
    Finished,
    /// The peer refused the request.
    Refused,
    /// The peer, the transport, or a violation of the protocol ended it.
    Reset,
}

/// What to do with the payload of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Append it to the receive buffer, which has room for it.
    Keep,
    /// Drop it.
    Discard,
}

/// The part of a packet's header that concerns the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What the packet does.
    pub operation: Operation,
    /// Bytes of payload.
    pub len: u32,
    /// Flags of the operation.
    pub flags: u32,
    /// Size of the sender's receive buffer, in bytes.
    pub buf_alloc: u32,
    /// Bytes that have left that buffer, modulo 2^32.
    pub fwd_cnt: u32,
}

/// One connection, seen from the host that opened it.
#[derive(Clone, Debug)]
pub struct Connection {
    phase: Phase,
    request_sent: bool,

    /// What the peer may have in flight, and how far that may grow: the size of
    /// our receive buffer.
    window: u32,
    largest_window: u32,
    received: Wrapping<u32>,
    consumed: Wrapping<u32>,
    /// The last value of `consumed` that the peer was told.
    advertised: Wrapping<u32>,
    owe_credit_update: bool,

    peer_window: u32,
    peer_consumed: Wrapping<u32>,
    sent: Wrapping<u32>,
    credit_requested: bool,

    /// Directions the peer has ended.
    peer_shutdown: u32,
    /// Directions our side wants ended, and those the peer knows of.
    shutdown: u32,
    shutdown_sent: u32,
    owe_reset: bool,
}

impl Connection {
    /// Returns a connection whose request waits to be sent. `window` is the size
    /// of the receive buffer, in bytes.
    pub fn connecting(window: u32) -> Self {
        Self {
            phase: Phase::Connecting,
            request_sent: false,
            window: window.min(FIRST_WINDOW),
            largest_window: window,
            received: Wrapping(0),
            consumed: Wrapping(0),
            advertised: Wrapping(0),
            owe_credit_update: false,
            peer_window: 0,
            peer_consumed: Wrapping(0),
            sent: Wrapping(0),
            credit_requested: false,
            peer_shutdown: 0,
            shutdown: 0,
            shutdown_sent: 0,
            owe_reset: false,
        }
    }

    /// Returns how far the connection has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Tells whether the request has been sent.
    pub fn request_sent(&self) -> bool {
        self.request_sent
    }

    /// Tells whether nothing more will arrive: what is buffered is all there is.
    pub fn receive_ended(&self) -> bool {
        matches!(self.phase, Phase::Closed(_)) || self.peer_shutdown & SHUTDOWN_SEND != 0
    }

    /// Tells whether data can still be sent.
    pub fn can_send(&self) -> bool {
        self.phase == Phase::Open
            && self.shutdown & SHUTDOWN_SEND == 0
            && self.peer_shutdown & SHUTDOWN_RECEIVE == 0
    }

    /// Tells whether data that waits to be sent has become pointless.
    pub fn discards_outgoing(&self) -> bool {
        matches!(self.phase, Phase::Closed(_)) || self.peer_shutdown & SHUTDOWN_RECEIVE != 0
    }

    /// Tells whether received data has no reader any more.
    pub fn discards_received(&self) -> bool {
        self.shutdown & SHUTDOWN_RECEIVE != 0
    }

    /// Tells whether the peer needs no further packet and none of its matters.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Closed(_)) && !self.owe_reset
    }

    /// Returns how many bytes the peer has room for.
    pub fn credit(&self) -> u32 {
        // A peer that claims to have read more than was sent gets nothing.
        self.peer_window
            .saturating_sub((self.sent - self.peer_consumed).0)
    }

    /// Takes in a packet of the peer.
    pub fn receive(&mut self, packet: Packet) -> Payload {
        if let Phase::Closed(_) = self.phase {
            if packet.operation == Operation::Reset {
                self.owe_reset = false;
            }
            return Payload::Discard;
        }
        self.peer_window = packet.buf_alloc;
        self.peer_consumed = Wrapping(packet.fwd_cnt);
        if self.credit() > 0 {
            self.credit_requested = false;
        }
        match (self.phase, packet.operation) {
            (_, Operation::Reset) => self.receive_reset(),
            (Phase::Connecting, Operation::Response) if self.request_sent => {
                self.phase = Phase::Open;
            }
            (Phase::Open, Operation::ReadWrite) => return self.receive_payload(packet.len),
            (Phase::Open, Operation::Shutdown) => {
                self.peer_shutdown |= packet.flags & SHUTDOWN_BOTH;
                if self.peer_shutdown == SHUTDOWN_BOTH {
                    // The reset tells the peer that its shutdown has arrived
                    // (virtio 1.2, section 5.10.6.5).
                    self.phase = Phase::Closed(Closed::Finished);
                    self.owe_reset = true;
                }
            }
            (Phase::Open, Operation::CreditUpdate) => {}
            (Phase::Open, Operation::CreditRequest) => self.owe_credit_update = true,
            _ => self.violate(),
        }
        Payload::Discard
    }

    /// Records that the reader took `count` bytes out of the receive buffer.
    pub fn consume(&mut self, count: u32) {
        self.consumed += count;
        // Early enough that a fast peer never sees an empty window while the
        // buffer is empty, late enough that packets are not spent on nothing.
        if (self.consumed - self.advertised).0 >= self.window / 4 {
            self.owe_credit_update = true;
        }
    }

    /// Ends the direction to the peer, after what waits to be sent.
    pub fn shut_down_send(&mut self) {
        self.shutdown |= SHUTDOWN_SEND;
    }

    /// Ends both directions: what waits is still sent, what arrives is dropped.
    pub fn close(&mut self) {
        match self.phase {
            Phase::Connecting => {
                self.phase = Phase::Closed(Closed::Reset);
                self.owe_reset = self.request_sent;
            }
            Phase::Open => self.shutdown = SHUTDOWN_BOTH,
            Phase::Closed(_) => {}
        }
    }

    /// Ends the connection at once and lets the peer know.
    pub fn violate(&mut self) {
        if !matches!(self.phase, Phase::Closed(_)) {
            self.phase = Phase::Closed(Closed::Reset);
            self.owe_reset = true;
        }
    }

    /// Ends the connection because the peer's whole transport is gone.
    pub fn lose_transport(&mut self) {
        if !matches!(self.phase, Phase::Closed(_)) {
            self.phase = Phase::Closed(Closed::Reset);
        }
        self.owe_reset = false;
    }

    /// Tells whether there is a packet to send, with `queued` bytes waiting.
    pub fn wants_to_send(&self, queued: usize) -> bool {
        self.next(queued, MAX_PAYLOAD).is_some()
    }

    /// Returns the next packet to send, with `queued` bytes waiting and room for
    /// `room` bytes of payload, and counts it as sent.
    pub fn send(&mut self, queued: usize, room: usize) -> Option<Packet> {
        let (operation, len, flags) = self.next(queued, room)?;
        match operation {
            Operation::Request => self.request_sent = true,
            Operation::Reset => self.owe_reset = false,
            Operation::Shutdown => self.shutdown_sent |= flags,
            Operation::ReadWrite => self.sent += len,
            Operation::CreditRequest => self.credit_requested = true,
            Operation::Response | Operation::CreditUpdate => {}
        }
        // Every packet tells the credit.
        self.owe_credit_update = false;
        self.advertised = self.consumed;
        Some(Packet {
            operation,
            len,
            flags,
            buf_alloc: self.window,
            fwd_cnt: self.consumed.0,
        })
    }

    fn next(&self, queued: usize, room: usize) -> Option<(Operation, u32, u32)> {
        match self.phase {
            Phase::Closed(_) => self.owe_reset.then_some((Operation::Reset, 0, 0)),
            Phase::Connecting => (!self.request_sent).then_some((Operation::Request, 0, 0)),
            Phase::Open => self.next_open(queued, room),
        }
    }

    fn next_open(&self, queued: usize, room: usize) -> Option<(Operation, u32, u32)> {
        if self.shutdown_sent == SHUTDOWN_BOTH {
            // The peer answers with a reset, and is gone.
            return None;
        }
        let outgoing = if self.discards_outgoing() { 0 } else { queued };
        let mut shutdown = self.shutdown;
        if outgoing > 0 {
            // The end of our data comes after the data. That nobody reads any
            // more does not wait: the peer may be stuck writing to us.
            shutdown &= !SHUTDOWN_SEND;
        }
        if shutdown & !self.shutdown_sent != 0 {
            return Some((Operation::Shutdown, 0, shutdown));
        }
        let len = outgoing
            .min(room)
            .min(MAX_PAYLOAD)
            .min(self.credit() as usize);
        if len > 0 {
            return Some((Operation::ReadWrite, len as u32, 0));
        }
        if outgoing > 0 && self.credit() == 0 && !self.credit_requested {
            return Some((Operation::CreditRequest, 0, 0));
        }
        self.owe_credit_update
            .then_some((Operation::CreditUpdate, 0, 0))
    }

    fn receive_payload(&mut self, len: u32) -> Payload {
        let buffered = (self.received - self.consumed).0;
        if self.peer_shutdown & SHUTDOWN_SEND != 0 || len > self.window.saturating_sub(buffered) {
            self.violate();
            return Payload::Discard;
        }
        self.received += len;
        if len >= LARGE_PACKET && self.window < self.largest_window {
            self.window = self.window.saturating_mul(2).min(self.largest_window);
            self.owe_credit_update = true;
        }
        if self.discards_received() {
            self.consume(len);
            return Payload::Discard;
        }
        Payload::Keep
    }

    fn receive_reset(&mut self) {
        let finished = self.peer_shutdown & SHUTDOWN_SEND != 0
            || self.shutdown_sent & SHUTDOWN_BOTH == SHUTDOWN_BOTH;
        self.phase = Phase::Closed(match self.phase {
            Phase::Connecting => Closed::Refused,
            _ if finished => Closed::Finished,
            _ => Closed::Reset,
        });
        self.owe_reset = false;
    }
}
