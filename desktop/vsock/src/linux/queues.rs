//! Moves packets between the virtqueues and the connections.

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::debug;
use vhost_user_backend::{VringMutex, VringT};
use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::GuestMemoryMmap;

use super::chain::Buffers;
use crate::connection::Packet;
use crate::endpoint::{Endpoint, Ports};
use crate::packet::{HEADER_LEN, HOST_CID, Header, Operation, TYPE_STREAM};
use crate::table::Table;

/// Packets that one connection sends before the next has its turn.
const QUANTUM: u32 = 16;

/// Packets after which the guest is told, so that it works while we do.
const SIGNAL_AFTER: u32 = 32;

/// Packets handled on one queue before the other has its turn.
const BUDGET: u32 = 128;

/// Resets that wait for buffers of the guest. More than that come only from a
/// guest that sends garbage and takes no answers: they are dropped.
const MAX_RESETS: usize = 1024;

/// What is left on a queue after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    More,
}

/// The device's side of the receive and the transmit queue.
#[derive(Debug)]
pub(super) struct Queues {
    table: Arc<Table>,
    guest_cid: u64,
    /// Endpoints with something to send, the next to send first.
    ready: VecDeque<Arc<Endpoint>>,
    /// Packets the first of them may still send in this turn.
    turn: u32,
    /// Resets for packets that belong to no connection.
    resets: VecDeque<Header>,
    buffers: Buffers,
    /// Where each queue stood after the last turn.
    positions: [Option<u16>; 2],
    /// Packets taken that the guest has not been told of.
    untold: u32,
}

impl Queues {
    pub(super) fn new(table: Arc<Table>, guest_cid: u64) -> Self {
        Self {
            table,
            guest_cid,
            ready: VecDeque::new(),
            turn: QUANTUM,
            resets: VecDeque::new(),
            buffers: Buffers::default(),
            positions: [None; 2],
            untold: 0,
        }
    }

    /// Works until nothing is left to do or so many turns of both queues are over.
    /// Returns whether more is left.
    pub(super) fn run(
        &mut self,
        mem: &GuestMemoryMmap,
        receive: &VringMutex,
        transmit: &VringMutex,
        rounds: u32,
    ) -> bool {
        self.notice_restart(receive, transmit);
        for _ in 0..rounds {
            let from_guest = self.take_packets(mem, transmit);
            let to_guest = self.send_packets(mem, receive);
            if from_guest == Left::Nothing && to_guest == Left::Nothing {
                return false;
            }
        }
        true
    }

    /// Fails all connections of a driver that is gone.
    pub(super) fn lose_transport(&mut self) {
        self.positions = [None; 2];
        self.untold = 0;
        self.resets.clear();
        self.table.lose_transport();
    }

    /// Fails all connections when the guest's driver has begun anew.
    ///
    /// vhost-user tells of a stopped and started ring, which happens when the
    /// guest resets the device and also when the virtual machine is paused. After
    /// a pause the ring goes on where it was, after a reset it begins at 0.
    fn notice_restart(&mut self, receive: &VringMutex, transmit: &VringMutex) {
        let moved = [receive, transmit]
            .into_iter()
            .zip(self.positions)
            .any(|(vring, position)| {
                let state = vring.get_ref();
                let queue = state.get_queue();
                queue.ready() && position.is_some_and(|position| position != queue.next_avail())
            });
        if moved {
            debug!("the guest restarted its vsock driver");
            self.lose_transport();
        }
    }

    /// Hands the guest's packets to their connections.
    fn take_packets(&mut self, mem: &GuestMemoryMmap, vring: &VringMutex) -> Left {
        let mut state = vring.get_mut();
        if !state.is_enabled() || !state.get_queue().ready() {
            return Left::Nothing;
        }
        let mut left = Left::More;
        for _ in 0..BUDGET {
            let queue = state.get_queue_mut();
            // An index that makes no sense ends the turn: the next kick tries again.
            let Ok(mut available) = queue.iter(mem) else {
                left = Left::Nothing;
                break;
            };
            let Some(chain) = available.next() else {
                match queue.enable_notification(mem) {
                    Ok(true) => continue,
                    _ => {
                        left = Left::Nothing;
                        break;
                    }
                }
            };
            let head = chain.head_index();
            self.buffers.collect(mem, chain, false);
            self.take_packet(mem);
            if queue.add_used(mem, head, 0).is_ok() {
                self.untold += 1;
            }
            if self.untold >= SIGNAL_AFTER {
                self.untold = 0;
                signal(&mut state);
            }
        }
        self.positions[1] = Some(state.get_queue().next_avail());
        left
    }

    /// Tells whether the guest has not been told yet of packets that were taken.
    pub(super) fn owes_completions(&self) -> bool {
        self.untold > 0
    }

    /// Tells the guest of the packets that were taken, so that it frees them.
    pub(super) fn complete(&mut self, transmit: &VringMutex) {
        self.untold = 0;
        signal(&mut transmit.get_mut());
    }

    /// Hands the packet in `self.buffers` to its connection.
    fn take_packet(&mut self, mem: &GuestMemoryMmap) {
        let mut bytes = [0; HEADER_LEN];
        if !self.buffers.read(mem, 0, &mut bytes) {
            debug!("dropped a packet without a whole header");
            return;
        }
        let header = Header::from_bytes(&bytes);
        // virtio 1.2, section 5.10.6.4: a guest speaks only for itself, and only
        // to the host.
        if header.source_cid != self.guest_cid || header.destination_cid != HOST_CID {
            debug!(?header, "dropped a packet with a foreign address");
            return;
        }
        let ports = Ports {
            host: header.destination_port,
            guest: header.source_port,
        };
        let endpoint = match header.socket_type {
            TYPE_STREAM => self.table.get(ports),
            _ => None,
        };
        let Some(endpoint) = endpoint else {
            self.refuse(&header);
            return;
        };
        let mut state = endpoint.lock();
        let wakers = match Operation::from_wire(header.operation) {
            Some(operation) if header.len as usize <= self.buffers.len() - HEADER_LEN => {
                let packet = Packet {
                    operation,
                    len: header.len,
                    flags: header.flags,
                    buf_alloc: header.buf_alloc,
                    fwd_cnt: header.fwd_cnt,
                };
                state.receive(packet, |front, back| {
                    self.buffers.read(mem, HEADER_LEN, front)
                        && self.buffers.read(mem, HEADER_LEN + front.len(), back)
                })
            }
            _ => {
                debug!(?header, "reset a connection for a malformed packet");
                state.end(crate::connection::Connection::violate)
            }
        };
        let done = state.connection.is_done();
        let schedule = state.schedule();
        drop(state);
        wakers.wake();
        if done {
            self.table.remove(ports);
        }
        if schedule {
            self.ready.push_back(endpoint);
        }
    }

    /// Answers a packet that belongs to no connection.
    fn refuse(&mut self, header: &Header) {
        if header.operation == Operation::Reset.to_wire() || self.resets.len() >= MAX_RESETS {
            return;
        }
        self.resets.push_back(Header {
            source_cid: HOST_CID,
            destination_cid: self.guest_cid,
            source_port: header.destination_port,
            destination_port: header.source_port,
            socket_type: header.socket_type,
            operation: Operation::Reset.to_wire(),
            ..Header::default()
        });
    }

    /// Fills the guest's buffers with what the connections have to send.
    fn send_packets(&mut self, mem: &GuestMemoryMmap, vring: &VringMutex) -> Left {
        let mut state = vring.get_mut();
        if !state.is_enabled() || !state.get_queue().ready() {
            return Left::Nothing;
        }
        let mut left = Left::More;
        let mut used = 0;
        for _ in 0..BUDGET {
            self.table.take_ready(&mut self.ready);
            if self.ready.is_empty() && self.resets.is_empty() {
                left = Left::Nothing;
                break;
            }
            let queue = state.get_queue_mut();
            let Ok(mut available) = queue.iter(mem) else {
                left = Left::Nothing;
                break;
            };
            let Some(chain) = available.next() else {
                match queue.enable_notification(mem) {
                    Ok(true) => continue,
                    // The guest's next buffer comes with a kick.
                    _ => {
                        left = Left::Nothing;
                        break;
                    }
                }
            };
            let head = chain.head_index();
            self.buffers.collect(mem, chain, true);
            let len = if self.buffers.len() < HEADER_LEN {
                // Of no use to anyone: the guest gets it back empty.
                0
            } else if let Some(len) = self.send_packet(mem) {
                len
            } else {
                queue.go_to_previous_position();
                left = Left::Nothing;
                break;
            };
            if queue.add_used(mem, head, len).is_ok() {
                used += 1;
            }
            if used == SIGNAL_AFTER {
                used = 0;
                signal(&mut state);
            }
        }
        if used > 0 {
            signal(&mut state);
        }
        self.positions[0] = Some(state.get_queue().next_avail());
        left
    }

    /// Writes the next packet into `self.buffers`. Returns its length with the
    /// header, in bytes, or nothing when there is none to send.
    fn send_packet(&mut self, mem: &GuestMemoryMmap) -> Option<u32> {
        if let Some(reset) = self.resets.pop_front() {
            self.buffers.write(mem, 0, &reset.to_bytes());
            return Some(HEADER_LEN as u32);
        }
        while let Some(endpoint) = self.ready.front() {
            let room = self.buffers.len() - HEADER_LEN;
            let mut state = endpoint.lock();
            let queued = state.outgoing.len();
            let Some(packet) = state.connection.send(queued, room) else {
                state.scheduled = false;
                drop(state);
                self.next_turn();
                continue;
            };
            let header = Header {
                source_cid: HOST_CID,
                destination_cid: self.guest_cid,
                source_port: endpoint.ports.host,
                destination_port: endpoint.ports.guest,
                len: packet.len,
                socket_type: TYPE_STREAM,
                operation: packet.operation.to_wire(),
                flags: packet.flags,
                buf_alloc: packet.buf_alloc,
                fwd_cnt: packet.fwd_cnt,
            };
            let len = packet.len as usize;
            let (front, back) = state.outgoing.front(len);
            let written = self.buffers.write(mem, 0, &header.to_bytes())
                && self.buffers.write(mem, HEADER_LEN, front)
                && self.buffers.write(mem, HEADER_LEN + front.len(), back);
            let wakers = state.sent(len);
            let more_wakers = if written {
                Default::default()
            } else {
                // The memory went away under the ring: bytes are lost.
                state.end(crate::connection::Connection::violate)
            };
            let done = state.connection.is_done();
            state.scheduled = state.connection.wants_to_send(state.outgoing.len());
            let scheduled = state.scheduled;
            drop(state);
            wakers.wake();
            more_wakers.wake();
            if done {
                self.table.remove(endpoint.ports);
            }
            self.turn -= 1;
            if !scheduled {
                self.next_turn();
            } else if self.turn == 0 {
                self.ready.rotate_left(1);
                self.turn = QUANTUM;
            }
            return Some((HEADER_LEN + len) as u32);
        }
        None
    }

    /// Panics when more is held than may be.
    pub(super) fn assert_bounds(&self) {
        assert!(self.resets.len() <= MAX_RESETS, "too many resets wait");
        assert!(
            self.ready.len() <= crate::table::MAX_CONNECTIONS * 2,
            "too many endpoints are scheduled"
        );
    }

    /// Takes the first endpoint off the list.
    fn next_turn(&mut self) {
        self.ready.pop_front();
        self.turn = QUANTUM;
    }
}

/// Tells the guest about used buffers, if it wants to know.
fn signal(state: &mut vhost_user_backend::VringState) {
    if state.needs_notification().unwrap_or(true)
        && let Err(error) = state.signal_used_queue()
    {
        debug!(%error, "could not signal the guest");
    }
}
