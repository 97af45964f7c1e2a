//! Endpoints against a model of the guest, which does what Linux does and
//! checks that we keep the rules.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::{Endpoint, Ports, State};
use crate::connection::{Closed, Packet, Phase};
use crate::packet::{MAX_PAYLOAD, Operation, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};

/// A guest's end of one connection.
struct Guest {
    window: u32,
    /// Bytes that wait for the guest's reader, and all it has read.
    buffered: VecDeque<u8>,
    read: Vec<u8>,
    /// Bytes that wait to be sent, and how many were ever written.
    outgoing: VecDeque<u8>,
    written: Vec<u8>,
    sent: u32,
    host_window: u32,
    host_consumed: u32,
    /// What the host has ended, and what the guest has.
    host_shutdown: u32,
    shutdown: u32,
    reset: bool,
    /// Packets under way to the host.
    packets: VecDeque<(Packet, Vec<u8>)>,
}

impl Guest {
    fn new(window: u32) -> Self {
        Self {
            window,
            buffered: VecDeque::new(),
            read: Vec::new(),
            outgoing: VecDeque::new(),
            written: Vec::new(),
            sent: 0,
            host_window: 0,
            host_consumed: 0,
            host_shutdown: 0,
            shutdown: 0,
            reset: false,
            packets: VecDeque::new(),
        }
    }

    fn push(&mut self, operation: Operation, flags: u32, payload: Vec<u8>) {
        let packet = Packet {
            operation,
            len: payload.len() as u32,
            flags,
            buf_alloc: self.window,
            fwd_cnt: self.read.len() as u32,
        };
        self.packets.push_back((packet, payload));
    }

    fn receive(&mut self, packet: Packet, payload: &[u8]) {
        assert!(!self.reset, "a packet after a reset: {packet:?}");
        self.host_window = packet.buf_alloc;
        self.host_consumed = packet.fwd_cnt;
        match packet.operation {
            Operation::Request => self.push(Operation::Response, 0, Vec::new()),
            Operation::ReadWrite => {
                assert_eq!(self.host_shutdown & SHUTDOWN_SEND, 0, "data after its end");
                self.buffered.extend(payload);
                assert!(
                    self.buffered.len() <= self.window as usize,
                    "credit exceeded"
                );
            }
            Operation::Shutdown => {
                self.host_shutdown |= packet.flags;
                if self.host_shutdown & SHUTDOWN_RECEIVE != 0 {
                    self.outgoing.clear();
                }
                if self.host_shutdown == SHUTDOWN_BOTH {
                    self.push(Operation::Reset, 0, Vec::new());
                    self.reset = true;
                }
            }
            Operation::CreditRequest => self.push(Operation::CreditUpdate, 0, Vec::new()),
            Operation::CreditUpdate => {}
            Operation::Reset => self.reset = true,
            Operation::Response => panic!("a response that was not asked for"),
        }
    }

    /// Sends what the host has room for, in pieces of at most `most` bytes.
    fn send(&mut self, most: usize) {
        let free = self
            .host_window
            .checked_sub(self.sent.wrapping_sub(self.host_consumed))
            .expect("the host took its credit back");
        let count = self.outgoing.len().min(free as usize).min(most);
        if count > 0 && !self.reset {
            let payload: Vec<u8> = self.outgoing.drain(..count).collect();
            self.sent += count as u32;
            self.push(Operation::ReadWrite, 0, payload);
        }
        if self.outgoing.is_empty() && self.shutdown & SHUTDOWN_SEND != 0 {
            // Sent once: the flag is taken back into a "told" state by moving it up.
            self.shutdown = self.shutdown << 8 & 0xff00;
            self.push(Operation::Shutdown, SHUTDOWN_SEND, Vec::new());
        }
    }

    fn take(&mut self, count: usize) {
        let count = count.min(self.buffered.len());
        let before = self.window as usize - self.buffered.len();
        self.read.extend(self.buffered.drain(..count));
        // Linux: virtio_transport_stream_do_dequeue.
        if count > 0 && !self.reset && before < MAX_PAYLOAD.min(self.window as usize / 2) {
            self.push(Operation::CreditUpdate, 0, Vec::new());
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    HostWrites(usize),
    HostReads(usize),
    HostEnds,
    ToGuest(usize),
    GuestWrites(usize),
    GuestReads(usize),
    GuestEnds,
    GuestSends(usize),
    ToHost,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![1usize..4, 1usize..300, 1usize..9000];
    prop::collection::vec(
        prop_oneof![
            4 => size.clone().prop_map(Step::HostWrites),
            4 => size.clone().prop_map(Step::HostReads),
            1 => Just(Step::HostEnds),
            6 => size.clone().prop_map(Step::ToGuest),
            4 => size.clone().prop_map(Step::GuestWrites),
            4 => size.clone().prop_map(Step::GuestReads),
            1 => Just(Step::GuestEnds),
            6 => size.prop_map(Step::GuestSends),
            6 => Just(Step::ToHost),
        ],
        1..300,
    )
}

struct Pair {
    endpoint: Endpoint,
    guest: Guest,
    host_written: Vec<u8>,
    host_read: Vec<u8>,
    host_ended: bool,
    guest_ended: bool,
    end_seen: bool,
    next: u8,
}

impl Pair {
    fn new(host_window: u32, guest_window: u32) -> Self {
        let mut pair = Self {
            endpoint: Endpoint::with_window(
                Ports {
                    host: 1024,
                    guest: 1,
                },
                host_window,
            ),
            guest: Guest::new(guest_window),
            host_written: Vec::new(),
            host_read: Vec::new(),
            host_ended: false,
            guest_ended: false,
            end_seen: false,
            next: 0,
        };
        pair.send_to_guest(1);
        pair.send_to_host();
        assert_eq!(pair.endpoint.lock().connection.phase(), Phase::Open);
        pair
    }

    fn data(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.next = self.next.wrapping_mul(5).wrapping_add(11);
                self.next
            })
            .collect()
    }

    /// Carries one packet to the guest. Returns whether there was one.
    fn send_to_guest(&mut self, room: usize) -> bool {
        let mut state = self.endpoint.lock();
        let queued = state.outgoing.len();
        let wanted = state.connection.wants_to_send(queued);
        let Some(packet) = state.connection.send(queued, room) else {
            assert!(!wanted);
            return false;
        };
        let (front, back) = state.outgoing.front(packet.len as usize);
        let payload = [front, back].concat();
        let _ = state.sent(packet.len as usize);
        drop(state);
        self.guest.receive(packet, &payload);
        true
    }

    fn send_to_host(&mut self) -> bool {
        let Some((packet, payload)) = self.guest.packets.pop_front() else {
            return false;
        };
        let mut state = self.endpoint.lock();
        let _ = receive(&mut state, packet, &payload);
        true
    }

    fn read(&mut self, count: usize) -> bool {
        let context = Context::from_waker(Waker::noop());
        let before = self.host_read.len();
        let read = &mut self.host_read;
        let polled = self
            .endpoint
            .lock()
            .poll_read(&context, count, |bytes| read.extend(bytes));
        if let Poll::Ready(result) = polled {
            result.expect("reading fails");
            self.end_seen |= before == self.host_read.len();
        }
        self.host_read.len() > before
    }

    fn step(&mut self, step: &Step) {
        let context = Context::from_waker(Waker::noop());
        match *step {
            Step::HostWrites(count) if !self.host_ended => {
                let data = self.data(count);
                let polled = self
                    .endpoint
                    .lock()
                    .poll_write(&context, &[IoSlice::new(&data)]);
                if let Poll::Ready(result) = polled {
                    let written = result.expect("writing fails");
                    self.host_written.extend(&data[..written]);
                }
            }
            Step::HostReads(count) => {
                self.read(count);
            }
            Step::HostEnds => {
                self.host_ended = true;
                self.endpoint.lock().connection.shut_down_send();
            }
            Step::ToGuest(room) => {
                self.send_to_guest(room);
            }
            Step::GuestWrites(count) if !self.guest_ended => {
                let data = self.data(count);
                self.guest.outgoing.extend(&data);
                self.guest.written.extend(&data);
            }
            Step::GuestReads(count) => self.guest.take(count),
            Step::GuestEnds if !self.guest_ended => {
                self.guest_ended = true;
                self.guest.shutdown = SHUTDOWN_SEND;
            }
            Step::GuestSends(most) => self.guest.send(most),
            Step::ToHost => {
                self.send_to_host();
            }
            Step::HostWrites(_) | Step::GuestWrites(_) | Step::GuestEnds => {}
        }
    }

    /// Goes on until nothing moves any more.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let waiting = self.guest.outgoing.len() + self.guest.buffered.len();
            self.guest.send(4096);
            let mut moved = self.send_to_guest(4096);
            self.guest.take(4096);
            moved |= self.send_to_host();
            moved |= self.read(4096);
            if !moved && waiting == self.guest.outgoing.len() + self.guest.buffered.len() {
                return;
            }
        }
        panic!("the two talk for ever");
    }
}

fn receive(state: &mut State, packet: Packet, payload: &[u8]) -> super::Wakers {
    state.receive(packet, |front, back| {
        let split = front.len();
        front.copy_from_slice(&payload[..split]);
        back.copy_from_slice(&payload[split..]);
        true
    })
}

proptest! {
    #[test]
    fn every_byte_arrives_in_order_whatever_the_interleaving(
        host_window in 1u32..20_000,
        guest_window in 1u32..20_000,
        steps in steps(),
    ) {
        let mut pair = Pair::new(host_window, guest_window);
        for step in &steps {
            pair.step(step);
        }
        pair.step(&Step::HostEnds);
        pair.step(&Step::GuestEnds);
        pair.settle();
        prop_assert!(pair.guest.read == pair.host_written, "the guest read something else");
        prop_assert!(pair.host_read == pair.guest.written, "the host read something else");
        prop_assert!(pair.end_seen, "the reader never saw the end");
        prop_assert!(pair.guest.host_shutdown & SHUTDOWN_SEND != 0);
    }

    #[test]
    fn a_closed_stream_delivers_what_was_written_and_frees_a_stuck_writer(
        host_window in 1u32..20_000,
        guest_window in 1u32..20_000,
        steps in steps(),
    ) {
        let mut pair = Pair::new(host_window, guest_window);
        for step in &steps {
            pair.step(step);
        }
        pair.endpoint.lock().close();
        for _ in 0..100_000 {
            pair.guest.send(4096);
            pair.send_to_guest(4096);
            pair.guest.take(4096);
            pair.send_to_host();
            if pair.endpoint.lock().connection.is_done() {
                break;
            }
        }
        prop_assert!(pair.endpoint.lock().connection.is_done());
        pair.guest.take(usize::MAX);
        prop_assert!(pair.guest.read == pair.host_written, "the guest read something else");
        prop_assert_eq!(pair.endpoint.lock().received.len(), 0);
    }

    #[test]
    fn nothing_a_guest_sends_breaks_the_bounds(
        window in 1u32..10_000,
        packets in prop::collection::vec((1u16..8, 0u32..5_000, any::<u32>(), any::<u32>(), any::<u32>(), 0usize..9_000, any::<bool>()), 1..200),
    ) {
        let endpoint = Endpoint::with_window(Ports { host: 1024, guest: 1 }, window);
        let context = Context::from_waker(Waker::noop());
        for (operation, len, flags, buf_alloc, fwd_cnt, count, open) in packets {
            let mut state = endpoint.lock();
            let operation = if open && state.connection.phase() == Phase::Connecting {
                Operation::Response
            } else {
                Operation::from_wire(operation).expect("an operation")
            };
            let packet = Packet { operation, len, flags, buf_alloc, fwd_cnt };
            let _ = receive(&mut state, packet, &vec![1; len as usize]);
            prop_assert!(state.received.len() <= window as usize);
            let _ = state.poll_write(&context, &[IoSlice::new(&vec![2; count])]);
            prop_assert!(state.outgoing.len() <= window as usize);
            let queued = state.outgoing.len();
            let credit = state.connection.credit();
            if let Some(sent) = state.connection.send(queued, count) {
                prop_assert!(sent.operation != Operation::ReadWrite || sent.len <= credit);
                let _ = state.sent(sent.len as usize);
            }
            let _ = state.poll_read(&context, count.max(1), |_| {});
        }
    }
}

#[test]
fn a_reset_is_seen_after_the_bytes_before_it() {
    let mut pair = Pair::new(1000, 1000);
    pair.step(&Step::GuestWrites(10));
    pair.step(&Step::GuestSends(10));
    pair.guest.push(Operation::Reset, 0, Vec::new());
    while pair.send_to_host() {}
    assert!(pair.read(100));
    let context = Context::from_waker(Waker::noop());
    let mut state = pair.endpoint.lock();
    assert_eq!(state.connection.phase(), Phase::Closed(Closed::Reset));
    let Poll::Ready(Err(error)) = state.poll_read(&context, 1, |_| {}) else {
        panic!("no error");
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let Poll::Ready(Err(error)) = state.poll_write(&context, &[IoSlice::new(b"x")]) else {
        panic!("no error");
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_guest_that_overruns_its_credit_is_reset() {
    let mut pair = Pair::new(1000, 1000);
    pair.guest.push(Operation::ReadWrite, 0, vec![0; 1001]);
    pair.send_to_host();
    assert!(pair.send_to_guest(0));
    assert!(pair.guest.reset);
    assert!(pair.endpoint.lock().connection.is_done());
}

#[test]
fn a_guest_that_closes_gets_its_bytes_read_and_a_reset() {
    let mut pair = Pair::new(1000, 1000);
    pair.step(&Step::GuestWrites(10));
    pair.step(&Step::GuestSends(10));
    pair.guest
        .push(Operation::Shutdown, SHUTDOWN_BOTH, Vec::new());
    while pair.send_to_host() {}
    assert!(pair.send_to_guest(0));
    assert!(pair.guest.reset);
    assert!(pair.read(100));
    assert!(!pair.read(100));
    assert!(pair.end_seen);
    let context = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(error)) = pair
        .endpoint
        .lock()
        .poll_write(&context, &[IoSlice::new(b"x")])
    else {
        panic!("no error");
    };
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}
