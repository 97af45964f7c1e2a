//! One figure, its comparator and its target.

use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;

/// Every figure there is, behind the group that measures it.
pub(crate) const NAMES: &[(&str, &str)] = &[
    ("boot", "cold_start"),
    ("memory", "agent_memory"),
    ("memory", "shim_memory"),
    ("memory", "machine_memory"),
    ("commands", "run_true"),
    ("commands", "exec_true"),
    ("commands", "run_twenty"),
    ("vsock", "vsock_round_trip"),
    ("vsock", "vsock_in"),
    ("vsock", "vsock_out"),
    ("forward", "port_round_trip"),
    ("forward", "port_in"),
    ("forward", "port_out"),
    ("forward", "port_in_64"),
    ("forward", "port_out_64"),
    ("forward", "port_connections"),
    ("traffic", "http_1"),
    ("traffic", "http_64"),
    ("traffic", "iperf_in"),
    ("traffic", "iperf_in_64"),
    ("traffic", "iperf_out"),
    ("traffic", "iperf_out_64"),
    ("traffic", "iperf_udp_in"),
    ("traffic", "iperf_udp_out"),
    ("traffic", "iperf_to_host"),
    ("images", "load"),
    ("api", "api_run"),
    ("api", "api_run_50"),
    ("api", "api_run_50_all"),
    ("api", "api_list_50"),
];

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) comparator: &'static str,
    pub(crate) comparator_value: Option<f64>,
    /// The value over the comparator's.
    pub(crate) ratio: Option<f64>,
    /// What TARGETS asks for, in words.
    pub(crate) target: &'static str,
    pub(crate) met: bool,
}

/// What must hold for a figure to meet its target.
pub(crate) enum Bound {
    /// At most this many times the comparator.
    RatioAtMost(f64),
    /// At least this many times the comparator.
    RatioAtLeast(f64),
    /// At most this value.
    ValueAtMost(f64),
}

impl Figure {
    pub(crate) fn new(
        name: &'static str,
        (value, unit): (f64, &'static str),
        (comparator, comparator_value): (&'static str, Option<f64>),
        (target, bound): (&'static str, Bound),
    ) -> Self {
        let ratio = comparator_value.map(|other| value / other);
        let met = match bound {
            Bound::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Bound::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
            Bound::ValueAtMost(most) => value <= most,
        };
        Self {
            name,
            value,
            unit,
            comparator,
            comparator_value,
            ratio,
            target,
            met,
        }
    }
}

/// Returns the middle one of some figures.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures something and its comparator in turn, so that what else the machine does
/// meets both alike, and returns the middle figure of each. The actions get the
/// number of the run.
///
/// # Errors
///
/// Those of the first; where the second fails, its figure is the error.
pub(crate) fn in_turn(
    runs: usize,
    mut ours: impl FnMut(usize) -> anyhow::Result<f64>,
    mut theirs: impl FnMut(usize) -> anyhow::Result<f64>,
) -> anyhow::Result<(f64, anyhow::Result<f64>)> {
    let (mut first, mut second) = (Vec::new(), Ok(Vec::new()));
    for run in 0..runs {
        first.push(ours(run)?);
        if let Ok(values) = &mut second {
            match theirs(run) {
                Ok(value) => values.push(value),
                Err(error) => second = Err(error),
            }
        }
    }
    Ok((median(first), second.map(median)))
}

/// Returns the middle one of the times that an action took, seconds.
///
/// # Errors
///
/// Those of the action.
pub(crate) fn repeated(
    runs: usize,
    mut action: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let begun = Instant::now();
        action()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

/// Returns a table for people.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut table = String::new();
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    let _ = writeln!(
        table,
        "{:<18}{:>10} {:<6}{:>12} {:<34}{:>7}  {:<28}met",
        "what", "value", "", "comparator", "", "ratio", "target"
    );
    for figure in figures {
        let _ = writeln!(
            table,
            "{:<18}{:>10.2} {:<6}{:>12} {:<34}{:>7}  {:<28}{}",
            figure.name,
            figure.value,
            figure.unit,
            number(figure.comparator_value),
            figure.comparator,
            number(figure.ratio),
            figure.target,
            if figure.met { "yes" } else { "NO" },
        );
    }
    table
}
