//! A stream of bytes that both sides can make and check at any position.
//!
//! Its period is a prime, so that a lost, doubled or swapped piece of any
//! usual size (a packet, a page, a buffer) does not fit back onto itself.

const PERIOD: usize = 65_521;

#[derive(Debug)]
pub(crate) struct Pattern {
    block: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let block = (0..PERIOD)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 24) as u8
            })
            .collect();
        Self { block }
    }

    /// Fills `bytes` with what stands at `position`.
    pub(crate) fn fill(&self, position: u64, bytes: &mut [u8]) {
        let mut at = (position % PERIOD as u64) as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = rest.len().min(PERIOD - at);
            rest[..count].copy_from_slice(&self.block[at..at + count]);
            rest = &mut rest[count..];
            at = 0;
        }
    }

    /// Tells whether `bytes` are what stands at `position`.
    pub(crate) fn matches(&self, position: u64, bytes: &[u8]) -> bool {
        let mut at = (position % PERIOD as u64) as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = rest.len().min(PERIOD - at);
            if rest[..count] != self.block[at..at + count] {
                return false;
            }
            rest = &rest[count..];
            at = 0;
        }
        true
    }
}
