//! Times as people say them, in Docker's words.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

/// Returns a duration in one unit: `2 minutes`, `About an hour`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// Returns how long before `now` a time was, in words.
pub fn since(time: Option<&Timestamp>, now: SystemTime) -> String {
    match time.and_then(system_time) {
        // The guest's clock may be a little ahead.
        Some(time) => duration(now.duration_since(time).unwrap_or_default()),
        None => "Unknown time".to_owned(),
    }
}

/// Returns a time as `docker ps` shows it, in UTC.
pub fn date(time: Option<&Timestamp>) -> String {
    match time.and_then(system_time) {
        Some(time) => {
            let text = humantime::format_rfc3339_seconds(time).to_string();
            format!("{} +0000 UTC", text.trim_end_matches('Z').replace('T', " "))
        }
        None => String::new(),
    }
}

/// Returns a time in RFC 3339; Go's zero time where there is none, as Docker does.
pub fn rfc3339(time: Option<&Timestamp>) -> String {
    match time.and_then(system_time) {
        Some(time) => humantime::format_rfc3339_nanos(time).to_string(),
        None => "0001-01-01T00:00:00Z".to_owned(),
    }
}

/// A time on the wire may be anything; `None` for one that this host cannot hold
/// or write, and for zero, which stands for never.
fn system_time(time: &Timestamp) -> Option<SystemTime> {
    let nanoseconds = u32::try_from(time.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    let seconds = u64::try_from(time.seconds)
        .ok()
        .filter(|seconds| *seconds < 250_000_000_000)?;
    let since = Duration::new(seconds, nanoseconds);
    (!since.is_zero()).then_some(SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_dockers_words() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (730 * 86400, "2 years"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), words, "{seconds}");
        }
    }

    #[test]
    fn no_time_is_gos_zero() {
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
        let broken = Timestamp {
            seconds: i64::MAX,
            nanos: -1,
        };
        assert_eq!(rfc3339(Some(&broken)), "0001-01-01T00:00:00Z");
        let time = Timestamp {
            seconds: 1_700_000_000,
            nanos: 5,
        };
        assert_eq!(rfc3339(Some(&time)), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(date(Some(&time)), "2023-11-14 22:13:20 +0000 UTC");
    }
}
