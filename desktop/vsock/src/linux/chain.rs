//! Access to the guest's buffers behind one descriptor chain.
//!
//! The guest writes descriptors, so a chain may be cyclic, endless, empty, or
//! point anywhere. `virtio_queue` bounds a chain by the size of its table; here
//! it is bounded once more, and every range is checked before it is used.

use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryMmap};

/// Descriptors looked at in one chain. Linux puts at most 64 KiB into a packet,
/// which is 18 pages with the header.
const MAX_DESCRIPTORS: usize = 256;

/// The readable or the writable buffers of a chain, in order.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pieces: Vec<(GuestAddress, usize)>,
    len: usize,
}

impl Buffers {
    /// Returns how many bytes the buffers hold together.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Collects the buffers of `chain` that the device may write (`writable`) or
    /// read. Stops at the first that is not inside the guest's memory.
    pub(super) fn collect(
        &mut self,
        mem: &GuestMemoryMmap,
        chain: DescriptorChain<&GuestMemoryMmap>,
        writable: bool,
    ) {
        self.pieces.clear();
        self.len = 0;
        for descriptor in chain.take(MAX_DESCRIPTORS) {
            let len = descriptor.len() as usize;
            if descriptor.is_write_only() != writable || len == 0 {
                continue;
            }
            if !mem.check_range(descriptor.addr(), len) {
                break;
            }
            self.pieces.push((descriptor.addr(), len));
            // Cannot overflow: 256 descriptors of less than 4 GiB.
            self.len += len;
        }
    }

    /// Fills `into` from the buffers, `offset` bytes from their start. Tells
    /// whether all of it could be read.
    pub(super) fn read(&self, mem: &GuestMemoryMmap, offset: usize, into: &mut [u8]) -> bool {
        let mut done = 0;
        self.each(offset, into.len(), |address, len| {
            let piece = &mut into[done..done + len];
            done += len;
            mem.read_slice(piece, address).is_ok()
        }) && done == into.len()
    }

    /// Writes `from` into the buffers, `offset` bytes from their start. Tells
    /// whether all of it could be written.
    pub(super) fn write(&self, mem: &GuestMemoryMmap, offset: usize, from: &[u8]) -> bool {
        let mut done = 0;
        self.each(offset, from.len(), |address, len| {
            let piece = &from[done..done + len];
            done += len;
            mem.write_slice(piece, address).is_ok()
        }) && done == from.len()
    }

    /// Calls `access` with each contiguous range of the `count` bytes at
    /// `offset`, until it returns false.
    fn each(
        &self,
        mut offset: usize,
        mut count: usize,
        mut access: impl FnMut(GuestAddress, usize) -> bool,
    ) -> bool {
        for &(address, len) in &self.pieces {
            if count == 0 {
                break;
            }
            if offset >= len {
                offset -= len;
                continue;
            }
            let part = count.min(len - offset);
            // Cannot overflow: the range was checked to lie in guest memory.
            let start = GuestAddress(address.0 + offset as u64);
            if !access(start, part) {
                return false;
            }
            count -= part;
            offset = 0;
        }
        true
    }
}
