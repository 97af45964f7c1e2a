//! Sizes, shares of processors and limits.

use wherry_client::size;

/// The least memory limit that a container may have, as in Docker, bytes.
const LEAST_MEMORY: u64 = 6 << 20;

/// Parses the value of `-m`. 0 is no limit.
pub(crate) fn parse_memory(text: &str) -> Result<u64, String> {
    match size::parse(text) {
        Ok(bytes) if (1..LEAST_MEMORY).contains(&bytes) => Err(format!(
            "{} is too little to run anything: the least is {}",
            size::binary(bytes),
            size::binary(LEAST_MEMORY)
        )),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses the value of `--cpus` into billionths of a processor. 0 is no limit.
pub(crate) fn parse_cpus(text: &str) -> Result<u64, String> {
    let wrong =
        || "write a number of processors with up to nine decimals, such as 2 or 0.5".to_owned();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole)
        || !digits(fraction)
        || fraction.len() > 9
        || (whole.is_empty() && fraction.is_empty())
    {
        return Err(wrong());
    }
    let number = |text: &str| {
        if text.is_empty() {
            Ok(0)
        } else {
            text.parse::<u64>()
        }
    };
    let billionths = number(&format!("{fraction:0<9}")).map_err(|_| wrong())?;
    number(whole)
        .ok()
        .and_then(|whole| whole.checked_mul(1_000_000_000)?.checked_add(billionths))
        .ok_or_else(wrong)
}

/// Parses the value of `--pids-limit`; Docker writes no limit as 0 or -1.
pub(crate) fn parse_pids(text: &str) -> Result<u64, String> {
    if text == "-1" {
        return Ok(0);
    }
    text.parse()
        .map_err(|_| "write a number of processes, or -1 for no limit".to_owned())
}

/// Parses the seconds before a kill; -1 is for ever.
pub(crate) fn parse_patience(text: &str) -> Result<u32, String> {
    if text == "-1" {
        return Ok(u32::MAX);
    }
    text.parse()
        .map_err(|_| "write a number of seconds, or -1 to wait for ever".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cpus_are_billionths() {
        for (text, nano) in [
            ("2", 2_000_000_000),
            ("0.5", 500_000_000),
            (".25", 250_000_000),
            ("1.000000001", 1_000_000_001),
            ("0", 0),
        ] {
            assert_eq!(parse_cpus(text), Ok(nano), "{text}");
        }
        for text in [
            "",
            ".",
            "-1",
            "1.0000000001",
            "two",
            "1e3",
            "99999999999999",
            "+1",
        ] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_memory_limit_too_small_to_run_anything_is_refused() {
        assert!(parse_memory("1").unwrap_err().contains("6MiB"));
        assert!(parse_memory("1b").is_err());
        assert_eq!(parse_memory("6m"), Ok(6 << 20));
        assert_eq!(parse_memory("0"), Ok(0));
    }

    #[test]
    fn no_limit_of_processes_is_minus_one() {
        assert_eq!(parse_pids("-1"), Ok(0));
        assert_eq!(parse_pids("100"), Ok(100));
        assert!(parse_pids("-2").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_or_an_error(text in ".{0,12}") {
            let _ = (parse_cpus(&text), parse_memory(&text), parse_pids(&text));
        }
    }
}
