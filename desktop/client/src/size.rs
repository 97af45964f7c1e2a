//! Sizes in bytes as people write them.

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no size: write a number of bytes with a unit, such as 512m, 1g or 1.5GiB")]
pub struct SizeError {
    text: String,
}

const UNITS: [(char, u32); 5] = [('k', 10), ('m', 20), ('g', 30), ('t', 40), ('p', 50)];

/// Returns the bytes that `text` names: `512m`, `1g`, `1.5GiB`, `64MB`, `4096`.
/// Units are powers of 1024 whether written `m`, `MB` or `MiB`, as in Docker's
/// `--memory`.
///
/// # Errors
///
/// [`SizeError`] that shows what a size looks like.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    parse_or_none(text).ok_or_else(|| SizeError {
        text: text.to_owned(),
    })
}

fn parse_or_none(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        unit => {
            let mut letters = unit.chars();
            let letter = letters.next()?;
            if !matches!(letters.as_str(), "" | "b" | "ib") {
                return None;
            }
            UNITS.iter().find(|(unit, _)| *unit == letter)?.1
        }
    };
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(1 << shift),
        Some((whole, fraction)) => {
            if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
                return None;
            }
            let whole = whole.parse::<u64>().ok()?.checked_mul(1 << shift)?;
            let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
            let part = (u128::from(fraction.parse::<u64>().ok()?) << shift) / scale;
            whole.checked_add(u64::try_from(part).ok()?)
        }
    }
}

/// Returns `bytes` in powers of 1024, with up to two decimals: `1.5GiB`.
#[must_use]
pub fn binary(bytes: u64) -> String {
    human(
        bytes,
        1024.0,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
        |value| {
            let text = format!("{value:.2}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        },
    )
}

/// Returns `bytes` in powers of 1000 with three significant digits, as Docker
/// shows images: `187MB`, `4.26MB`.
#[must_use]
pub fn decimal(bytes: u64) -> String {
    human(
        bytes,
        1000.0,
        &["B", "kB", "MB", "GB", "TB", "PB", "EB"],
        |value| {
            let decimals = match value {
                value if value >= 99.95 => 0,
                value if value >= 9.995 => 1,
                _ => 2,
            };
            let text = format!("{value:.decimals$}");
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        },
    )
}

fn human(bytes: u64, step: f64, units: &[&str], number: impl Fn(f64) -> String) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    format!("{}{}", number(value), units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_a_size_is_understood() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("10b", 10),
            ("512m", 512 << 20),
            ("512M", 512 << 20),
            ("1g", 1 << 30),
            ("1GiB", 1 << 30),
            ("1 GiB", 1 << 30),
            ("1GB", 1 << 30),
            ("1.5g", 3 << 29),
            ("2t", 2 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "-1",
            "1x",
            "g",
            "1gg",
            "1.g",
            ".5g",
            "1e3",
            "99999999p",
            "1,5g",
            "0x10",
            "1.2.3k",
            "1gibb",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let message = parse("1x").unwrap_err().to_string();
        assert!(
            message.contains("\"1x\"") && message.contains("512m"),
            "{message}"
        );
    }

    #[test]
    fn sizes_read_as_docker_writes_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_261_550, "4.26MB"),
            (187_000_000, "187MB"),
            (77_800_000, "77.8MB"),
            (1_200_000_000, "1.2GB"),
        ] {
            assert_eq!(decimal(bytes), text);
        }
        assert_eq!(binary(1536 << 20), "1.5GiB");
        assert_eq!(binary(100), "100B");
    }

    proptest! {
        #[test]
        fn any_text_is_a_size_or_an_error(text in ".{0,20}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_whole_number_of_units_is_exact(number in 0u64..1_000_000, unit in 0usize..5) {
            let (letter, shift) = UNITS[unit];
            let expected = number.checked_mul(1 << shift);
            prop_assert_eq!(parse(&format!("{number}{letter}")).ok(), expected);
            prop_assert_eq!(parse(&format!("{number}{letter}iB")).ok(), expected);
        }
    }
}
