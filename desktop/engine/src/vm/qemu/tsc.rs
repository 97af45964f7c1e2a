//! The frequency of the processor's time stamp counter.
//!
//! An emulated guest sees the host's counter, and on `microvm` has no other
//! clock to measure it by: the kernel's attempt fails now and then on a busy
//! host, after which the kernel stands still. So it is told.

use std::time::{Duration, Instant};

/// What a measurement takes at least: two readings are off by less than a
/// microsecond, which makes a hundred millionths.
const LEAST: Duration = Duration::from_millis(10);

/// A measurement under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tsc {
    begun: Instant,
    ticks: u64,
}

impl Tsc {
    /// Begins to measure.
    pub(super) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            ticks: ticks(),
        }
    }

    /// Returns the frequency, kHz, once it is known; `None` where there is no
    /// such counter.
    pub(super) async fn kilohertz(self) -> Option<u64> {
        tokio::time::sleep_until((self.begun + LEAST).into()).await;
        let nanoseconds = self.begun.elapsed().as_nanos();
        let ticks = u128::from(ticks().wrapping_sub(self.ticks));
        u64::try_from(ticks * 1_000_000 / nanoseconds)
            .ok()
            .filter(|kilohertz| *kilohertz > 0)
    }
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: reading the counter has no precondition, and every x86-64
    // processor has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    0
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_measurements_agree() {
        let one = Tsc::begin().kilohertz().await.unwrap();
        let two = Tsc::begin().kilohertz().await.unwrap();
        assert!(one.abs_diff(two) * 1000 < one, "{one} and {two} kHz");
    }
}
