//! `--since` and `--until`: a moment, or how long ago.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Parses a moment: RFC 3339 (UTC where no zone is given), seconds since 1970,
/// or a duration such as `10m` that counts back from now. Returns nanoseconds
/// since 1970.
pub(crate) fn parse_moment(text: &str) -> Result<i64, String> {
    moment(text, SystemTime::now()).ok_or_else(|| {
        "write a moment such as 2026-11-24T08:30:00Z, seconds since 1970, or how long ago, such as 10m or 1h30m".to_owned()
    })
}

/// Parses a duration as Go writes it: `30s`, `1m30s`, `300ms`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    duration(text).ok_or_else(|| "write a duration such as 30s, 1m30s or 300ms".to_owned())
}

fn moment(text: &str, now: SystemTime) -> Option<i64> {
    if let Some(nanoseconds) = decimal(text) {
        return i64::try_from(nanoseconds).ok();
    }
    if let Some(ago) = duration(text) {
        return nanoseconds(now.checked_sub(ago)?);
    }
    rfc3339(text)
}

fn nanoseconds(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// Parses seconds with up to nine decimals into nanoseconds.
fn decimal(text: &str) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 || whole.len() > 12 {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let fraction: u128 = format!("{fraction:0<9}").parse().ok()?;
    Some(whole * 1_000_000_000 + fraction)
}

/// Parses a duration as Go writes it: `1h30m`, `1.5h`, `300ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut total: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        // `decimal` counts in billionths, which the last division takes out again.
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return None,
        };
        total = total.checked_add(decimal(number)?.checked_mul(unit)? / 1_000_000_000)?;
        rest = after;
    }
    if text.is_empty() {
        return None;
    }
    u64::try_from(total).ok().map(Duration::from_nanos)
}

fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = match text.find(['T', ' ']) {
        Some(place) => (&text[..place], &text[place + 1..]),
        None => (text, "00:00:00"),
    };
    let (time, offset) = match time.find(['Z', '+', '-']) {
        Some(place) => (&time[..place], zone(&time[place..])?),
        None => (time, 0),
    };
    let time = match time.len() {
        5 => format!("{time}:00"),
        _ => time.to_owned(),
    };
    let utc = humantime::parse_rfc3339_weak(&format!("{date}T{time}")).ok()?;
    nanoseconds(utc)?.checked_sub(offset * 1_000_000_000)
}

/// Returns the seconds by which a zone such as `Z` or `+01:00` is ahead of UTC.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str, limit: i64| {
        text.parse()
            .ok()
            .filter(|number| (0..limit).contains(number))
    };
    Some(sign * (number(hours, 24)? * 3600 + number(minutes, 60)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_way_to_write_a_moment_is_understood() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let second = 1_000_000_000;
        for (text, expected) in [
            ("10m", 999_400 * second),
            ("1h30m", 994_600 * second),
            ("1.5h", 994_600 * second),
            ("500ms", 1_000_000 * second - 500_000_000),
            ("1234", 1234 * second),
            ("1234.5", 1234 * second + 500_000_000),
            ("1970-01-02", 86_400 * second),
            ("1970-01-01T00:01", 60 * second),
            ("1970-01-01T00:01:00", 60 * second),
            ("1970-01-01T00:00:00.25Z", 250_000_000),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01 00:00:00-00:30", 1800 * second),
        ] {
            assert_eq!(moment(text, now), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "yesterday",
            "10",
            "-5m",
            "5x",
            "1970-13-01",
            "m",
            "1h30",
            "1970-01-01T00:00:00+99:00",
        ] {
            let parsed = parse_moment(text);
            assert!(parsed.is_err() || text == "10", "{text}: {parsed:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_moment_or_an_error(text in ".{0,30}", near in "[0-9TZ:.+ hms-]{0,25}") {
            let _ = (parse_moment(&text), parse_moment(&near));
        }
    }
}
