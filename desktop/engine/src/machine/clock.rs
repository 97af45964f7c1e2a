//! The guest's clock, kept with the host's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::guest::Guest;
use crate::platform::ClockJumps;

/// Between two settings of the clock.
const INTERVAL: Duration = Duration::from_secs(30);

/// Between two attempts when the guest does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// What the guest may be off by: less than what a person or a build notices,
/// more than a busy guest takes to answer.
const TOLERANCE: Duration = Duration::from_millis(50);

/// How often a setting that came late is repeated.
const REPEATS: usize = 5;

/// Sets the guest's clock at once, at every interval, after every jump of the
/// host's clock (which a sleep of the host is) and whenever `wake` says so.
pub(super) async fn keep(mut guest: Guest, wake: Arc<Notify>) {
    let mut jumps = ClockJumps::new()
        .inspect_err(|error| tracing::warn!(%error, "cannot tell when the host's clock jumps"))
        .ok();
    loop {
        let pause = if set(&mut guest).await {
            INTERVAL
        } else {
            RETRY
        };
        let jump = async {
            match &mut jumps {
                Some(jumps) => jumps.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = jump => tracing::debug!("the host's clock jumped"),
            () = wake.notified() => {}
        }
    }
}

/// Sets the clock; returns whether the guest answered.
async fn set(guest: &mut Guest) -> bool {
    for _ in 0..REPEATS {
        let asked = Instant::now();
        match guest.set_clock(TOLERANCE).await {
            // A request that was long under way carried a time that was old
            // when the guest took it for the present one.
            Ok(answer) if answer.stepped && asked.elapsed() > TOLERANCE => {}
            Ok(answer) => {
                if answer.stepped {
                    tracing::debug!(offset_ms = answer.offset_ms, "set the guest's clock");
                }
                return true;
            }
            Err(status) => {
                tracing::debug!(%status, "cannot set the guest's clock");
                return false;
            }
        }
    }
    true
}
