//! A small guest over the rings of a [`Rig`]: echoes on port 1, never reads on
//! port 2, refuses all others.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use virtio_queue::desc::split::Descriptor;

use super::rig::{BUFFERS, GUEST_CID, RECEIVE, Rig, TRANSMIT};
use crate::connector::Connector;
use crate::packet::{
    HEADER_LEN, HOST_CID, Header, Operation, SHUTDOWN_BOTH, SHUTDOWN_SEND, TYPE_STREAM,
};

const ECHO: u32 = 1;
const STALL: u32 = 2;

const SLOTS: u16 = 32;
const SLOT: usize = 8192;
const PAYLOAD: usize = 4096;
const WINDOW: u32 = 64 * 1024;

#[derive(Default)]
struct Conversation {
    outgoing: VecDeque<u8>,
    received: u32,
    sent: u32,
    host_window: u32,
    host_consumed: u32,
    /// 0: open, 1: the host has ended, 2: so has the guest.
    ended: u8,
}

pub(super) struct Driver {
    rig: Rig,
    conversations: HashMap<(u32, u32), Conversation>,
    packets: VecDeque<(Header, Vec<u8>)>,
    seen: [u16; 2],
    free: Vec<u16>,
}

impl Driver {
    fn new(rig: Rig) -> Self {
        let mut driver = Self {
            rig,
            conversations: HashMap::new(),
            packets: VecDeque::new(),
            seen: [0; 2],
            free: Vec::new(),
        };
        driver.start();
        driver
    }

    fn start(&mut self) {
        self.conversations.clear();
        self.packets.clear();
        self.seen = [0; 2];
        self.free = (0..SLOTS).map(|slot| slot * 2).collect();
        for slot in 0..SLOTS {
            self.rig.descriptor(
                RECEIVE,
                slot,
                Descriptor::new(address(RECEIVE, slot), (HEADER_LEN + PAYLOAD) as u32, 2, 0),
            );
            self.rig.offer(RECEIVE, slot);
        }
    }

    fn turn(&mut self) {
        self.rig.run();
        while self.seen[RECEIVE] != self.rig.used(RECEIVE) {
            let (slot, len) = self.rig.used_element(RECEIVE, self.seen[RECEIVE]);
            self.seen[RECEIVE] = self.seen[RECEIVE].wrapping_add(1);
            let bytes: [u8; HEADER_LEN + PAYLOAD] = self.rig.read(address(RECEIVE, slot));
            let (header, payload) = bytes.split_first_chunk().expect("a header");
            let header = Header::from_bytes(header);
            assert_eq!(len as usize, HEADER_LEN + header.len as usize);
            self.receive(&header, &payload[..header.len as usize]);
            self.rig.offer(RECEIVE, slot);
        }
        while self.seen[TRANSMIT] != self.rig.used(TRANSMIT) {
            let (head, _) = self.rig.used_element(TRANSMIT, self.seen[TRANSMIT]);
            self.seen[TRANSMIT] = self.seen[TRANSMIT].wrapping_add(1);
            self.free.push(head);
        }
        self.talk();
        while let Some(head) = self.free.pop() {
            let Some((header, payload)) = self.packets.pop_front() else {
                self.free.push(head);
                break;
            };
            let place = address(TRANSMIT, head / 2);
            self.rig.write(place, &header.to_bytes());
            self.rig.write(place + HEADER_LEN as u64, &payload);
            let flags = u16::from(!payload.is_empty());
            let header_part = Descriptor::new(place, HEADER_LEN as u32, flags, head + 1);
            let payload_part =
                Descriptor::new(place + HEADER_LEN as u64, payload.len() as u32, 0, 0);
            self.rig.descriptor(TRANSMIT, head, header_part);
            self.rig.descriptor(TRANSMIT, head + 1, payload_part);
            self.rig.offer(TRANSMIT, head);
        }
    }

    fn receive(&mut self, header: &Header, payload: &[u8]) {
        assert_eq!(
            (header.source_cid, header.destination_cid),
            (HOST_CID, GUEST_CID)
        );
        let key = (header.source_port, header.destination_port);
        let operation = Operation::from_wire(header.operation).expect("an operation");
        if operation == Operation::Request && matches!(key.1, ECHO | STALL) {
            self.conversations.insert(key, Conversation::default());
            self.push(key, Operation::Response, 0, Vec::new());
        }
        let Some(conversation) = self.conversations.get_mut(&key) else {
            if operation != Operation::Reset {
                self.push(key, Operation::Reset, 0, Vec::new());
            }
            return;
        };
        conversation.host_window = header.buf_alloc;
        conversation.host_consumed = header.fwd_cnt;
        match operation {
            Operation::ReadWrite => {
                conversation.received += header.len;
                conversation.outgoing.extend(payload);
                if key.1 == STALL {
                    assert!(conversation.received <= WINDOW, "credit exceeded");
                }
            }
            Operation::CreditRequest => self.push(key, Operation::CreditUpdate, 0, Vec::new()),
            Operation::Shutdown if header.flags == SHUTDOWN_BOTH => {
                self.push(key, Operation::Reset, 0, Vec::new());
                self.conversations.remove(&key);
            }
            Operation::Shutdown if header.flags & SHUTDOWN_SEND != 0 => conversation.ended = 1,
            Operation::Reset => {
                self.conversations.remove(&key);
            }
            _ => {}
        }
    }

    /// Echoes as far as the credit goes.
    fn talk(&mut self) {
        let mut packets = Vec::new();
        for (&key, conversation) in &mut self.conversations {
            if key.1 != ECHO {
                continue;
            }
            let in_flight = conversation.sent.wrapping_sub(conversation.host_consumed);
            let free = conversation
                .host_window
                .checked_sub(in_flight)
                .expect("credit");
            let count = conversation.outgoing.len().min(free as usize).min(PAYLOAD);
            if count > 0 {
                conversation.sent += count as u32;
                let payload: Vec<u8> = conversation.outgoing.drain(..count).collect();
                packets.push((key, Operation::ReadWrite, 0, payload));
            } else if conversation.ended == 1 && conversation.outgoing.is_empty() {
                conversation.ended = 2;
                packets.push((key, Operation::Shutdown, SHUTDOWN_SEND, Vec::new()));
            }
        }
        for (key, operation, flags, payload) in packets {
            self.push(key, operation, flags, payload);
        }
    }

    fn push(&mut self, key: (u32, u32), operation: Operation, flags: u32, payload: Vec<u8>) {
        let read = match self.conversations.get(&key) {
            Some(conversation) if key.1 == ECHO => conversation
                .received
                .wrapping_sub(conversation.outgoing.len() as u32),
            _ => 0,
        };
        let header = Header {
            source_cid: GUEST_CID,
            destination_cid: HOST_CID,
            source_port: key.1,
            destination_port: key.0,
            len: payload.len() as u32,
            socket_type: TYPE_STREAM,
            operation: operation.to_wire(),
            flags,
            buf_alloc: WINDOW,
            fwd_cnt: read,
        };
        self.packets.push_back((header, payload));
    }
}

fn address(queue: usize, slot: u16) -> u64 {
    BUFFERS + queue as u64 * 0x10_0000 + u64::from(slot) * SLOT as u64
}

/// A thread that is both the guest and the device.
pub(super) struct Guest {
    stop: Arc<AtomicBool>,
    restarts: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
    pub(super) connector: Connector,
}

impl Guest {
    pub(super) fn boot() -> Self {
        let rig = Rig::new(64).expect("a rig");
        let connector = rig.connector();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (restarts, restarted) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut driver = Driver::new(rig);
            while !stopped.load(Ordering::Relaxed) {
                if restarted.try_recv().is_ok() {
                    driver.rig.restart();
                    driver.start();
                }
                driver.turn();
                thread::sleep(Duration::from_micros(20));
            }
            driver.rig.table.shut_down();
        });
        Self {
            stop,
            restarts,
            thread: Some(thread),
            connector,
        }
    }

    pub(super) fn restart(&self) {
        let _ = self.restarts.send(());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            assert!(result.is_ok() || thread::panicking(), "the guest panicked");
        }
    }
}
