//! The times in a log.

/// Reads `2026-01-02T03:04:05.678901234Z` as nanoseconds since 1970.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (
        clock.next()?.ok()?,
        clock.next()?.ok()?,
        clock.next()?.ok()?,
    );
    let plausible = (1970..=2261).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && fraction.len() <= 9
        && fraction.bytes().all(|digit| digit.is_ascii_digit());
    if !plausible {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    // Days since 1970 in the proleptic Gregorian calendar, the year beginning
    // in March (Hinnant, "chrono-compatible low-level date algorithms").
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(nanoseconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            nanoseconds("2000-03-01T00:00:00.5Z"),
            Some(951_868_800_500_000_000)
        );
        assert_eq!(
            nanoseconds("2024-02-29T23:59:59.999999999Z"),
            Some(1_709_251_199_999_999_999)
        );
        for wrong in [
            "",
            "2024-02-29",
            "2024-02-29T23:59:59",
            "x-1-1T0:0:0Z",
            "2024-13-01T00:00:00Z",
        ] {
            assert_eq!(nanoseconds(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in "[0-9TZ:.-]{0,30}") {
            let _ = nanoseconds(&text);
        }
    }
}
