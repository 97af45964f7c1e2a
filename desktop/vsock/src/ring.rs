//! A byte queue of bounded size that takes memory only as it is used.

/// Capacity that a queue keeps even when it is idle, and the step it grows from.
const SMALLEST: usize = 4 * 1024;

/// A first-in first-out queue of bytes over one contiguous allocation.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: Box<[u8]>,
    head: usize,
    len: usize,
    limit: usize,
    /// Most bytes held since the queue was last empty: decides on shrinking.
    peak: usize,
}

impl Ring {
    /// Returns an empty queue that never holds more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: Box::default(),
            head: 0,
            len: 0,
            limit,
            peak: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how many bytes may still be added.
    pub(crate) fn free(&self) -> usize {
        self.limit - self.len
    }

    /// Forgets everything and gives the memory back.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Adds as much of `data` as there is room for and returns how much that is.
    pub(crate) fn push(&mut self, data: &[u8]) -> usize {
        let count = data.len().min(self.free());
        let (front, back) = self.spare(count);
        let split = front.len();
        front.copy_from_slice(&data[..split]);
        back.copy_from_slice(&data[split..count]);
        self.commit(count);
        count
    }

    /// Returns room for the next `count` bytes (at most [`Ring::free`]), in two
    /// pieces. Nothing is added before [`Ring::commit`].
    pub(crate) fn spare(&mut self, count: usize) -> (&mut [u8], &mut [u8]) {
        let count = count.min(self.free());
        self.reserve(count);
        if count == 0 {
            return (&mut [], &mut []);
        }
        let capacity = self.bytes.len();
        let start = (self.head + self.len) % capacity;
        let first = count.min(capacity - start);
        let (low, high) = self.bytes.split_at_mut(start);
        (&mut high[..first], &mut low[..count - first])
    }

    /// Adds the `count` bytes that were written into [`Ring::spare`].
    pub(crate) fn commit(&mut self, count: usize) {
        self.len = (self.len + count).min(self.bytes.len());
        self.peak = self.peak.max(self.len);
    }

    /// Returns the oldest `count` bytes (or all, if fewer), in two pieces.
    pub(crate) fn front(&self, count: usize) -> (&[u8], &[u8]) {
        let count = count.min(self.len);
        if count == 0 {
            return (&[], &[]);
        }
        let first = count.min(self.bytes.len() - self.head);
        let (low, high) = self.bytes.split_at(self.head);
        (&high[..first], &low[..count - first])
    }

    /// Removes the oldest `count` bytes (or all, if fewer).
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        if count == 0 {
            return;
        }
        self.len -= count;
        self.head = (self.head + count) % self.bytes.len();
        if self.len == 0 {
            self.head = 0;
            // A queue that was once full and now only sees small messages gives
            // its memory back, without a fast one reallocating at every turn.
            if self.bytes.len() > SMALLEST && self.peak < self.bytes.len() / 4 {
                self.bytes = vec![0; self.bytes.len() / 2].into();
            }
            self.peak = 0;
        }
    }

    fn reserve(&mut self, count: usize) {
        let needed = self.len + count;
        if needed <= self.bytes.len() {
            return;
        }
        let capacity = needed.next_power_of_two().max(SMALLEST);
        let mut grown = vec![0; capacity].into_boxed_slice();
        let (front, back) = self.front(self.len);
        grown[..front.len()].copy_from_slice(front);
        grown[front.len()..self.len].copy_from_slice(back);
        self.bytes = grown;
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(steps in prop::collection::vec((any::<bool>(), 0usize..9000), 1..200)) {
            const LIMIT: usize = 20_000;
            let mut ring = Ring::new(LIMIT);
            let mut model = VecDeque::new();
            let mut next = 0u8;
            for (push, count) in steps {
                if push {
                    let data: Vec<u8> = (0..count).map(|_| { next = next.wrapping_add(7); next }).collect();
                    let taken = ring.push(&data);
                    prop_assert_eq!(taken, count.min(LIMIT - model.len()));
                    model.extend(&data[..taken]);
                } else {
                    let (front, back) = ring.front(count);
                    let seen: Vec<u8> = [front, back].concat();
                    let expected: Vec<u8> = model.drain(..count.min(model.len())).collect();
                    prop_assert_eq!(&seen, &expected);
                    ring.consume(seen.len());
                }
                prop_assert_eq!(ring.len(), model.len());
                prop_assert_eq!(ring.free(), LIMIT - model.len());
                prop_assert!(ring.bytes.len() <= LIMIT.next_power_of_two());
            }
        }
    }

    #[test]
    fn memory_is_given_back_after_a_burst() {
        let mut ring = Ring::new(1 << 20);
        ring.push(&vec![1; 1 << 20]);
        ring.consume(1 << 20);
        for _ in 0..20 {
            ring.push(&[1; 10]);
            ring.consume(10);
        }
        assert_eq!(ring.bytes.len(), SMALLEST);
    }
}
