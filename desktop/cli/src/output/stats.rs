//! What containers use, as `stats` shows it.

use serde_json::{Value, json};
use wherry_client::size::decimal;
use wherry_docker::reference::short_id;
use wherry_proto::v1::ContainerStats;

/// Returns the fields of a container in `stats`, named as Docker's. Rates are
/// since the look before.
pub(crate) fn row(stats: &ContainerStats, before: Option<&ContainerStats>, full: bool) -> Value {
    let id = if full { &stats.id } else { short_id(&stats.id) };
    let pair = |a: u64, b: u64| format!("{} / {}", decimal(a), decimal(b));
    let share = match stats.memory_limit {
        0 => 0.0,
        limit => stats.memory as f64 / limit as f64 * 100.0,
    };
    json!({
        "Container": id,
        "ID": id,
        "Name": stats.name,
        "CPUPerc": format!("{:.2}%", processor(stats, before)),
        "MemUsage": format!("{} / {}", binary(stats.memory), binary(stats.memory_limit)),
        "MemPerc": format!("{share:.2}%"),
        "NetIO": pair(stats.network_received, stats.network_sent),
        "BlockIO": pair(stats.block_read, stats.block_written),
        "PIDs": stats.pids.to_string(),
    })
}

/// The share of one processor's time, in percent.
fn processor(stats: &ContainerStats, before: Option<&ContainerStats>) -> f64 {
    let Some(before) = before.filter(|before| before.running && stats.running) else {
        return 0.0;
    };
    let time = stats.time_ns.saturating_sub(before.time_ns);
    // A container that was started anew has used less than before.
    let used = stats.cpu_ns.saturating_sub(before.cpu_ns);
    if time <= 0 {
        return 0.0;
    }
    used as f64 / time as f64 * 100.0
}

/// Bytes in powers of 1024 with four significant digits, as Docker shows memory.
fn binary(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let decimals = match value {
        value if value >= 999.95 => 0,
        value if value >= 99.995 => 1,
        value if value >= 9.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_fields_of_dockers() {
        let before = ContainerStats {
            id: "0123456789abcdef".repeat(4),
            name: "web".to_owned(),
            running: true,
            time_ns: 1_000_000_000,
            cpu_ns: 500_000_000,
            ..ContainerStats::default()
        };
        let now = ContainerStats {
            time_ns: 2_000_000_000,
            cpu_ns: 2_000_000_000,
            memory: 3 << 20,
            memory_limit: 64 << 20,
            network_received: 1500,
            block_written: 2_000_000,
            pids: 3,
            ..before.clone()
        };
        assert_eq!(
            row(&now, Some(&before), false),
            json!({
                "Container": "0123456789ab", "ID": "0123456789ab", "Name": "web",
                "CPUPerc": "150.00%", "MemUsage": "3MiB / 64MiB", "MemPerc": "4.69%",
                "NetIO": "1.5kB / 0B", "BlockIO": "0B / 2MB", "PIDs": "3",
            })
        );
        assert_eq!(row(&now, None, false)["CPUPerc"], "0.00%");
        // Started anew in between.
        assert_eq!(row(&before, Some(&now), false)["CPUPerc"], "0.00%");
    }

    #[test]
    fn memory_has_four_digits() {
        for (bytes, said) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.5KiB"),
            (123_456_789, "117.7MiB"),
            (8_156_000_000, "7.596GiB"),
        ] {
            assert_eq!(binary(bytes), said);
        }
    }
}
