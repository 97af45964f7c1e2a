//! How a container's output is kept.

use wherry_proto::v1::LogConfig;

/// The driver and its options, which the engine checks.
#[derive(clap::Args, Debug)]
pub(crate) struct LoggingOptions {
    /// How the container's output is kept: json-file, local or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,

    /// How much of it is kept: max-size=10m, max-file=3
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_option)]
    log_opt: Vec<(String, String)>,
}

impl LoggingOptions {
    /// Returns what was asked for, if anything was.
    pub(crate) fn config(&self) -> Option<LogConfig> {
        (self.log_driver.is_some() || !self.log_opt.is_empty()).then(|| LogConfig {
            driver: self.log_driver.clone().unwrap_or_default(),
            options: self.log_opt.iter().cloned().collect(),
        })
    }
}

fn parse_option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as max-size=10m".to_owned()),
    }
}
