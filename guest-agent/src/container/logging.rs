//! `--log-driver` and `--log-opt`: whether a container's output is kept, and
//! how much of it.

use wherry_proto::v1::LogConfig;

use super::error::Error;
use crate::runtime::LogLimits;

/// The names of what is one form here: Docker's `json-file` on the disk.
const FILES: [&str; 3] = ["", "json-file", "local"];

/// The most files of a log.
const MOST_FILES: u64 = 1000;

/// Tells whether a container's output is kept.
pub(crate) fn keeps(config: Option<&LogConfig>) -> bool {
    config.is_none_or(|config| config.driver != "none")
}

/// Returns how much of a container's output is kept; `None` for none of it.
///
/// # Errors
///
/// [`Error::Invalid`] for a driver that is not here, or an option that it does
/// not have, in Docker's words where it has any.
pub(super) fn limits(config: Option<&LogConfig>) -> Result<Option<LogLimits>, Error> {
    let mut limits = LogLimits::default();
    let Some(config) = config else {
        return Ok(Some(limits));
    };
    let driver = config.driver.as_str();
    if !FILES.contains(&driver) && driver != "none" {
        return invalid(format!(
            "logger: no log driver named '{driver}' is registered: the drivers are json-file, local and none"
        ));
    }
    if driver == "none" {
        return match config.options.keys().next() {
            Some(option) => unknown(option, driver),
            None => Ok(None),
        };
    }
    if driver == "json-file" && config.options.contains_key("max-size") {
        // Docker's default of this driver.
        limits.files = 1;
    }
    for (option, value) in &config.options {
        let value = value.as_str();
        match option.as_str() {
            "max-size" => {
                limits.size = size(value).ok_or_else(|| {
                    Error::Invalid(format!(
                        "invalid value '{value}' for max-size: write a size such as 10m, or -1 for no limit"
                    ))
                })?;
            }
            "max-file" => {
                limits.files = value
                    .parse()
                    .ok()
                    .filter(|files| (1..=MOST_FILES).contains(files))
                    .ok_or_else(|| {
                        Error::Invalid(format!(
                            "invalid value '{value}' for max-file: it is from 1 to {MOST_FILES}"
                        ))
                    })?;
            }
            // The container is not held up by its log in either.
            "mode" if matches!(value, "blocking" | "non-blocking") => {}
            "mode" => {
                return invalid(format!("logger: logging mode {value:?} is not supported"));
            }
            "compress" if value == "false" => {}
            "compress" => return invalid("log files are not compressed: leave compress out"),
            option => return unknown(option, driver),
        }
    }
    Ok(Some(limits))
}

/// Reads a size as Docker does here: a kilobyte is 1000 bytes.
fn size(text: &str) -> Option<u64> {
    if text == "-1" {
        return Some(u64::MAX);
    }
    let lower = text.to_ascii_lowercase();
    let number = lower
        .trim_end_matches('b')
        .trim_end_matches(['k', 'm', 'g', 't']);
    let factor: u64 = match lower[number.len()..].trim_end_matches('b') {
        "" => 1,
        "k" => 1000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(factor).filter(|bytes| *bytes > 0)
}

fn unknown<T>(option: &str, driver: &str) -> Result<T, Error> {
    let driver = if driver.is_empty() {
        "json-file"
    } else {
        driver
    };
    invalid(format!(
        "unknown log opt '{option}' for {driver} log driver: there are max-size, max-file and mode"
    ))
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(driver: &str, options: &[(&str, &str)]) -> LogConfig {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        LogConfig {
            driver: driver.to_owned(),
            options: options.iter().map(text).collect(),
        }
    }

    #[test]
    fn options_say_how_much_is_kept() {
        let kept = |driver: &str, options: &[(&str, &str)]| {
            let limits = limits(Some(&config(driver, options))).unwrap();
            limits.map(|limits| (limits.size, limits.files))
        };
        let usual = LogLimits::default();
        assert_eq!(kept("", &[]), Some((usual.size, usual.files)));
        assert_eq!(kept("none", &[]), None);
        assert_eq!(
            kept("json-file", &[("max-size", "10m")]),
            Some((10_000_000, 1))
        );
        assert_eq!(
            kept("local", &[("max-size", "1kB")]),
            Some((1000, usual.files))
        );
        assert_eq!(
            kept("json-file", &[("max-size", "-1"), ("max-file", "3")]),
            Some((u64::MAX, 3))
        );
        assert_eq!(
            kept("", &[("mode", "non-blocking")]),
            Some((usual.size, usual.files))
        );
    }

    #[test]
    fn what_is_not_here_is_refused_by_name() {
        for (driver, options, words) in [
            ("syslog", &[][..], "no log driver named 'syslog'"),
            ("json-file", &[("max-size", "0")], "max-size"),
            ("json-file", &[("max-size", "1x")], "max-size"),
            ("json-file", &[("max-size", "é")], "max-size"),
            ("json-file", &[("max-file", "0")], "from 1"),
            ("local", &[("compress", "true")], "not compressed"),
            (
                "",
                &[("labels", "a")],
                "unknown log opt 'labels' for json-file",
            ),
            ("none", &[("max-size", "1m")], "unknown log opt"),
            ("", &[("mode", "fast")], "mode \"fast\""),
        ] {
            let error = limits(Some(&config(driver, options)))
                .unwrap_err()
                .to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
