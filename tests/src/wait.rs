//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::bail;

/// Asks until `condition` holds.
///
/// # Errors
///
/// Where it does not within `limit`; says what was waited for.
pub fn until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let last = condition();
        match last {
            Ok(true) => return Ok(()),
            _ if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Ok(false) => bail!("{what}: not within {limit:?}"),
            Err(error) => return Err(error.context(format!("{what}: not within {limit:?}"))),
        }
    }
}
