//! The queues over a piece of memory that stands for a guest's, without QEMU.

use std::sync::Arc;

use vhost_user_backend::{VringMutex, VringT};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use super::backend::ROUNDS;
use super::queues::Queues;
#[cfg(test)]
use crate::connector::Connector;
use crate::table::Table;

/// Bytes of memory, and where buffers may lie in it.
pub(super) const MEMORY: u64 = 4 << 20;
pub(super) const BUFFERS: u64 = 0x2_0000;

pub(super) const GUEST_CID: u64 = 3;
pub(super) const RECEIVE: usize = 0;
pub(super) const TRANSMIT: usize = 1;

/// The rings of both queues, with the driver's view of them.
pub(super) struct Rig {
    mem: GuestMemoryAtomic<GuestMemoryMmap>,
    vrings: [VringMutex; 2],
    size: u16,
    available: [u16; 2],
    pub(super) queues: Queues,
    pub(super) table: Arc<Table>,
}

impl Rig {
    /// Returns two empty queues of `size` entries each.
    pub(super) fn new(size: u16) -> Option<Self> {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).ok()?;
        let mem = GuestMemoryAtomic::new(memory);
        let table = Arc::new(Table::new(Box::new(|| {})));
        let rig = Self {
            vrings: [
                VringMutex::new(mem.clone(), size).ok()?,
                VringMutex::new(mem.clone(), size).ok()?,
            ],
            mem,
            size,
            available: [0; 2],
            queues: Queues::new(table.clone(), GUEST_CID),
            table,
        };
        for (number, vring) in rig.vrings.iter().enumerate() {
            vring.set_queue_size(size);
            let [descriptors, available, used] = rings(number);
            vring.set_queue_info(descriptors, available, used).ok()?;
            vring.set_queue_event_idx(true);
            vring.set_queue_ready(true);
            vring.set_enabled(true);
        }
        Some(rig)
    }

    /// Lets the device work once. Returns whether more is left to do.
    pub(super) fn run(&mut self) -> bool {
        self.table.answer_call();
        let [receive, transmit] = &self.vrings;
        self.queues
            .run(&self.mem.memory(), receive, transmit, ROUNDS)
    }

    /// Writes memory; what lies outside is left out.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) {
        let _ = self.mem.memory().write(bytes, GuestAddress(address));
    }

    pub(super) fn descriptor(&self, queue: usize, index: u16, descriptor: Descriptor) {
        let [table, ..] = rings(queue);
        let address = table + u64::from(index % self.size) * 16;
        let _ = self
            .mem
            .memory()
            .write_obj(descriptor, GuestAddress(address));
    }

    /// Makes the chain that begins at `head` available.
    pub(super) fn offer(&mut self, queue: usize, head: u16) {
        let [_, available, _] = rings(queue);
        let slot = u64::from(self.available[queue] % self.size);
        self.write(available + 4 + slot * 2, &head.to_le_bytes());
        self.offer_up_to(queue, self.available[queue].wrapping_add(1));
    }

    /// Sets the index that says how many chains were ever made available.
    pub(super) fn offer_up_to(&mut self, queue: usize, index: u16) {
        let [_, available, _] = rings(queue);
        self.available[queue] = index;
        self.write(available + 2, &index.to_le_bytes());
    }
}

/// Addresses of the descriptor table, the available and the used ring.
pub(super) fn rings(queue: usize) -> [u64; 3] {
    let base = 0x1000 + queue as u64 * 0x8000;
    [base, base + 0x4000, base + 0x6000]
}

#[cfg(test)]
impl Rig {
    pub(super) fn connector(&self) -> Connector {
        Connector::new(self.table.clone())
    }

    pub(super) fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.mem
            .memory()
            .read_slice(&mut bytes, GuestAddress(address))
            .expect("an address in memory");
        bytes
    }

    /// Returns how many chains the device has given back, modulo 2^16.
    pub(super) fn used(&self, queue: usize) -> u16 {
        let [.., used] = rings(queue);
        u16::from_le_bytes(self.read(used + 2))
    }

    /// Returns the head and the length of a chain that was given back.
    pub(super) fn used_element(&self, queue: usize, index: u16) -> (u16, u32) {
        let [.., used] = rings(queue);
        let slot = u64::from(index % self.size);
        let head = u32::from_le_bytes(self.read(used + 4 + slot * 8));
        let len = u32::from_le_bytes(self.read(used + 8 + slot * 8));
        (head as u16, len)
    }

    /// Begins anew, as a guest's driver does after a reset.
    pub(super) fn restart(&mut self) {
        for (number, vring) in self.vrings.iter().enumerate() {
            let [_, available, used] = rings(number);
            self.write(available, &[0; 4]);
            self.write(used, &[0; 4]);
            vring.set_queue_next_avail(0);
            vring.set_queue_next_used(0);
        }
        self.available = [0; 2];
    }
}
