//! How a container's health is checked.

use std::time::Duration;

use wherry_proto::v1::HealthCheck;

use super::time::parse_duration;
use crate::failure::Failure;

/// The options of a health check. What is not given comes from the image.
#[derive(clap::Args, Debug)]
pub(crate) struct HealthOptions {
    /// Check the container's health by this shell command
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,

    /// The time between checks, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_interval: Option<Duration>,

    /// The time that a check may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_timeout: Option<Duration>,

    /// Failures in a row that make the container unhealthy
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = parse_retries)]
    health_retries: Option<u32>,

    /// The time to come up in which failures do not count
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_start_period: Option<Duration>,

    /// The time between checks while the container comes up
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_start_interval: Option<Duration>,

    /// Do not check the health, even if the image says how
    #[arg(long)]
    no_healthcheck: bool,
}

fn parse_retries(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "write how many failures in a row, 1 or more; 0 is Docker's 3".to_owned())
}

impl HealthOptions {
    /// Returns the check that is asked for, if one is.
    pub(crate) fn check(&self) -> Result<Option<HealthCheck>, Failure> {
        let nanoseconds = |duration: Option<Duration>| {
            let nanoseconds = duration.unwrap_or_default().as_nanos();
            u64::try_from(nanoseconds).unwrap_or(u64::MAX)
        };
        let check = HealthCheck {
            test: match &self.health_cmd {
                Some(command) if !command.is_empty() => {
                    vec!["CMD-SHELL".to_owned(), command.clone()]
                }
                _ => Vec::new(),
            },
            interval_ns: nanoseconds(self.health_interval),
            timeout_ns: nanoseconds(self.health_timeout),
            start_period_ns: nanoseconds(self.health_start_period),
            start_interval_ns: nanoseconds(self.health_start_interval),
            retries: self.health_retries.unwrap_or(0),
        };
        let asked = check != HealthCheck::default();
        if self.no_healthcheck && asked {
            return Err(Failure::new(
                "--no-healthcheck conflicts with --health-* options",
            ));
        }
        if self.no_healthcheck {
            return Ok(Some(HealthCheck {
                test: vec!["NONE".to_owned()],
                ..HealthCheck::default()
            }));
        }
        Ok(asked.then_some(check))
    }
}
