//! Health checks: what is run how often, and what is known of a container's
//! health.

mod monitor;
mod probe;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wherry_proto::v1::{self, HealthCheck};

use super::error::Error;
use super::record::timestamp;

/// Results that are kept.
const RESULTS: usize = 5;

/// The least interval, timeout or period other than the default; Docker's.
const LEAST: u64 = 1_000_000;

/// A check as it is run, with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// The command line.
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

impl Check {
    /// Returns the check of a container: its own over its image's, field by field.
    pub(super) fn of(own: Option<&HealthCheck>, image: Option<&HealthCheck>) -> Option<Self> {
        let none = HealthCheck::default();
        let (own, image) = (own.unwrap_or(&none), image.unwrap_or(&none));
        let test = if own.test.is_empty() {
            &image.test
        } else {
            &own.test
        };
        let command = match test.split_first() {
            Some((kind, rest)) if kind == "CMD" => rest.to_vec(),
            Some((kind, rest)) if kind == "CMD-SHELL" => {
                let mut command = vec!["/bin/sh".to_owned(), "-c".to_owned()];
                command.extend(rest.iter().cloned());
                command
            }
            _ => return None,
        };
        if command.is_empty() {
            return None;
        }
        let pick = |field: fn(&HealthCheck) -> u64, otherwise: u64| {
            let given = [field(own), field(image), otherwise];
            Duration::from_nanos(given.into_iter().find(|value| *value != 0).unwrap_or(0))
        };
        let second = 1_000_000_000;
        Some(Self {
            command,
            interval: pick(|check| check.interval_ns, 30 * second),
            timeout: pick(|check| check.timeout_ns, 30 * second),
            start_period: pick(|check| check.start_period_ns, 0),
            start_interval: pick(|check| check.start_interval_ns, 5 * second),
            retries: [own.retries, image.retries, 3]
                .into_iter()
                .find(|value| *value != 0)
                .unwrap_or(3),
        })
    }
}

/// Checks what a user asks for.
///
/// # Errors
///
/// [`Error::Invalid`] in Docker's words.
pub(super) fn validate(check: Option<&HealthCheck>) -> Result<(), Error> {
    let Some(check) = check else {
        return Ok(());
    };
    match check.test.first().map(String::as_str) {
        None | Some("NONE" | "CMD" | "CMD-SHELL") => {}
        Some(other) => {
            return Err(Error::Invalid(format!(
                "Unknown healthcheck type '{other}' (expected 'CMD', 'CMD-SHELL' or 'NONE')"
            )));
        }
    }
    for (name, value) in [
        ("Interval", check.interval_ns),
        ("Timeout", check.timeout_ns),
        ("StartPeriod", check.start_period_ns),
        ("StartInterval", check.start_interval_ns),
    ] {
        if value != 0 && value < LEAST {
            return Err(Error::Invalid(format!(
                "{name} in Healthcheck cannot be less than 1ms"
            )));
        }
        if i64::try_from(value).is_err() {
            return Err(Error::Invalid(format!(
                "{name} in Healthcheck is out of range"
            )));
        }
    }
    Ok(())
}

/// What Docker calls a container's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How one check went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Nanoseconds since 1970.
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// -1 where it could not be run or took too long.
    pub(super) exit_code: i32,
    /// What it wrote, 4 KiB at most.
    pub(super) output: String,
}

/// What is known of a container's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Health {
    pub(super) verdict: Verdict,
    pub(super) failing_streak: u32,
    pub(super) log: Vec<Outcome>,
}

impl Health {
    /// Takes a result in. Failures while the container comes up do not count.
    fn take(&mut self, outcome: Outcome, check: &Check, coming_up: bool) {
        if outcome.exit_code == 0 {
            self.failing_streak = 0;
            self.verdict = Verdict::Healthy;
        } else if !(coming_up && self.verdict == Verdict::Starting) {
            self.failing_streak += 1;
            if self.failing_streak >= check.retries {
                self.verdict = Verdict::Unhealthy;
            }
        }
        self.log.push(outcome);
        if self.log.len() > RESULTS {
            self.log.remove(0);
        }
    }

    /// Returns it as it goes over the wire.
    pub(super) fn describe(&self) -> v1::Health {
        v1::Health {
            status: self.verdict.word().to_owned(),
            failing_streak: self.failing_streak,
            log: self
                .log
                .iter()
                .map(|outcome| v1::HealthResult {
                    start: timestamp(outcome.start_ns),
                    end: timestamp(outcome.end_ns),
                    exit_code: outcome.exit_code,
                    output: outcome.output.clone(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(test: &[&str]) -> HealthCheck {
        HealthCheck {
            test: test.iter().map(|word| (*word).to_owned()).collect(),
            ..HealthCheck::default()
        }
    }

    #[test]
    fn a_containers_check_goes_over_its_images() {
        let image = HealthCheck {
            interval_ns: 7,
            retries: 9,
            ..asked(&["CMD", "probe", "-x"])
        };
        let own = HealthCheck {
            retries: 2,
            ..HealthCheck::default()
        };
        let check = Check::of(Some(&own), Some(&image)).unwrap();
        assert_eq!(check.command, ["probe", "-x"]);
        assert_eq!((check.interval.as_nanos(), check.retries), (7, 2));
        assert_eq!(check.timeout, Duration::from_secs(30));
        let check = Check::of(Some(&asked(&["CMD-SHELL", "a && b"])), Some(&image)).unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "a && b"]);
        assert_eq!(Check::of(Some(&asked(&["NONE"])), Some(&image)), None);
        assert_eq!(Check::of(None, None), None);
    }

    #[test]
    fn so_many_failures_in_a_row_are_unhealthy_and_one_success_is_not() {
        let own = HealthCheck {
            retries: 2,
            ..asked(&["CMD", "x"])
        };
        let check = Check::of(Some(&own), None).unwrap();
        let mut health = Health::default();
        let mut after = |exit_code, coming_up| {
            let outcome = Outcome {
                exit_code,
                ..Outcome::default()
            };
            health.take(outcome, &check, coming_up);
            (health.verdict, health.failing_streak, health.log.len())
        };
        assert_eq!(after(1, true), (Verdict::Starting, 0, 1));
        assert_eq!(after(1, false), (Verdict::Starting, 1, 2));
        assert_eq!(after(-1, false), (Verdict::Unhealthy, 2, 3));
        assert_eq!(after(0, false), (Verdict::Healthy, 0, 4));
        // Once it was healthy, the start is over.
        assert_eq!(after(1, true), (Verdict::Healthy, 1, 5));
        assert_eq!(after(1, true), (Verdict::Unhealthy, 2, 5));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (check, said) in [
            (
                asked(&["SOMETIMES"]),
                "Unknown healthcheck type 'SOMETIMES'",
            ),
            (
                HealthCheck {
                    timeout_ns: 5,
                    ..asked(&["NONE"])
                },
                "Timeout in Healthcheck cannot be less than 1ms",
            ),
        ] {
            let error = validate(Some(&check)).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
