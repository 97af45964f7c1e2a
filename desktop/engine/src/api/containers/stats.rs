//! `GET /containers/{id}/stats`, as dockerd has it on version 2 of cgroups.

use std::time::{Duration, UNIX_EPOCH};

use axum::extract::State;
use axum::response::Response;
use futures_util::{StreamExt, stream as streams};
use http::request::Parts;
use serde_json::{Map, Value, json};
use tonic::transport::Channel;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::{ContainerStats, NetworkStats, StatsRequest};

use super::streams::{json_stream, line};
use crate::api::Api;
use crate::api::error::{ApiError, Result};
use crate::api::path::Name;
use crate::api::query::Query;
use crate::api::version::ApiVersion;

/// How long is between two figures, as Docker's are.
const PERIOD: Duration = Duration::from_secs(1);

/// What Docker names of the kernel's `memory.stat`, as 0 where the kernel has it not.
const MEMORY: [&str; 31] = [
    "active_anon",
    "active_file",
    "anon",
    "anon_thp",
    "file",
    "file_dirty",
    "file_mapped",
    "file_writeback",
    "inactive_anon",
    "inactive_file",
    "kernel_stack",
    "pgactivate",
    "pgdeactivate",
    "pgfault",
    "pglazyfree",
    "pglazyfreed",
    "pgmajfault",
    "pgrefill",
    "pgscan",
    "pgsteal",
    "shmem",
    "slab",
    "slab_reclaimable",
    "slab_unreclaimable",
    "sock",
    "thp_collapse_alloc",
    "thp_fault_alloc",
    "unevictable",
    "workingset_activate",
    "workingset_nodereclaim",
    "workingset_refault",
];

pub(super) async fn stats(
    State(api): State<Api>,
    Name(name): Name,
    parts: Parts,
) -> Result<Response> {
    let query = Query::of(&parts.uri);
    let follow = query.flag_or("stream", true);
    let once = query.flag("one-shot") && ApiVersion::of(&parts) >= ApiVersion::minor(41);
    if follow && once {
        return Err(ApiError::bad_request(
            "cannot have stream=true and one-shot=true",
        ));
    }
    let guest = api.guest().await?;
    let first = read(guest.clone(), name).await?;
    // By its id from now on: it may be given another name.
    let id = first.id.clone();
    // As Docker: the first of a stream has nothing before it, and the only one has,
    // unless it is wanted at once or there is nothing to wait for.
    let state = if follow || once || !first.running {
        (None, Some(first))
    } else {
        (Some(first), None)
    };
    let figures = streams::unfold(state, move |(before, ready)| {
        let (guest, id) = (guest.clone(), id.clone());
        async move {
            let now = match ready {
                Some(ready) => ready,
                None => {
                    tokio::time::sleep(PERIOD).await;
                    read(guest, id).await.ok()?
                }
            };
            Some((line(&shape(before.as_ref(), &now)), (Some(now), None)))
        }
    });
    if follow {
        json_stream(figures)
    } else {
        json_stream(figures.take(1))
    }
}

async fn read(guest: Channel, name: String) -> Result<ContainerStats> {
    let request = StatsRequest {
        containers: vec![name],
        all: false,
    };
    let answer = ContainersClient::new(guest)
        .stats(request)
        .await?
        .into_inner();
    let stats = answer.stats.into_iter().next();
    stats.ok_or_else(|| ApiError::internal("the guest answers with no figures"))
}

/// Returns the figures as Docker writes them: what it leaves out where it is 0 is
/// left out.
fn shape(before: Option<&ContainerStats>, now: &ContainerStats) -> Value {
    let before = before.filter(|stats| stats.running);
    let this = Some(now).filter(|stats| stats.running);
    let mut value = json!({
        "name": format!("/{}", now.name),
        "id": now.id,
        "read": time(this),
        "preread": time(before),
        "pids_stats": counts(&[("current", now.pids), ("limit", now.pids_limit)]),
        "blkio_stats": blocks(now),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": processor(this),
        "precpu_stats": processor(before),
        "memory_stats": memory(now),
    });
    if !now.networks.is_empty() {
        let networks = now.networks.iter();
        value["networks"] = networks
            .map(|one| (one.interface.clone(), network(one)))
            .collect::<Map<_, _>>()
            .into();
    }
    value
}

fn time(stats: Option<&ContainerStats>) -> String {
    let since = stats.and_then(|stats| u64::try_from(stats.time_ns).ok());
    match since.map(Duration::from_nanos) {
        Some(since) => humantime::format_rfc3339_nanos(UNIX_EPOCH + since).to_string(),
        None => "0001-01-01T00:00:00Z".to_owned(),
    }
}

fn counts(counts: &[(&str, u64)]) -> Value {
    let there = counts.iter().filter(|(_, count)| *count != 0);
    there
        .map(|(name, count)| ((*name).to_owned(), (*count).into()))
        .collect::<Map<_, _>>()
        .into()
}

fn processor(stats: Option<&ContainerStats>) -> Value {
    let none = ContainerStats::default();
    let stats = stats.unwrap_or(&none);
    let mut value = counts(&[
        ("system_cpu_usage", stats.system_cpu_ns),
        ("online_cpus", stats.processors.into()),
    ]);
    value["cpu_usage"] = json!({
        "total_usage": stats.cpu_ns,
        "usage_in_kernelmode": stats.cpu_system_ns,
        "usage_in_usermode": stats.cpu_user_ns,
    });
    value["throttling_data"] = json!({
        "periods": stats.periods,
        "throttled_periods": stats.throttled_periods,
        "throttled_time": stats.throttled_ns,
    });
    value
}

fn memory(stats: &ContainerStats) -> Value {
    let mut value = counts(&[
        ("usage", stats.memory_charged),
        ("limit", stats.memory_limit),
        ("failcnt", stats.memory_failures),
    ]);
    if stats.running {
        let absent = MEMORY.map(|name| (name.to_owned(), 0));
        let mut all: std::collections::BTreeMap<String, u64> = absent.into();
        all.extend(stats.memory_stat.clone());
        value["stats"] = json!(all);
    }
    value
}

fn blocks(stats: &ContainerStats) -> Value {
    let entry = |major: u32, minor: u32, op: &str, value: u64| json!({"major": major, "minor": minor, "op": op, "value": value});
    let entries: Vec<Value> = stats
        .blocks
        .iter()
        .flat_map(|one| {
            let entry = |op, value| entry(one.major, one.minor, op, value);
            [entry("read", one.read), entry("write", one.written)]
        })
        .collect();
    let bytes = if entries.is_empty() {
        Value::Null
    } else {
        entries.into()
    };
    // The others are of version 1 of cgroups.
    json!({
        "io_service_bytes_recursive": bytes,
        "io_serviced_recursive": null,
        "io_queue_recursive": null,
        "io_service_time_recursive": null,
        "io_wait_time_recursive": null,
        "io_merged_recursive": null,
        "io_time_recursive": null,
        "sectors_recursive": null,
    })
}

fn network(stats: &NetworkStats) -> Value {
    json!({
        "rx_bytes": stats.received_bytes, "rx_packets": stats.received_packets,
        "rx_errors": stats.received_errors, "rx_dropped": stats.received_dropped,
        "tx_bytes": stats.sent_bytes, "tx_packets": stats.sent_packets,
        "tx_errors": stats.sent_errors, "tx_dropped": stats.sent_dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::BlockStats;

    fn figures() -> ContainerStats {
        ContainerStats {
            id: "ab".to_owned(),
            name: "web".to_owned(),
            running: true,
            time_ns: 1_700_000_000_000_000_000,
            cpu_ns: 30,
            cpu_user_ns: 20,
            cpu_system_ns: 10,
            system_cpu_ns: 4000,
            processors: 2,
            memory_charged: 5000,
            memory_limit: 9000,
            memory_stat: [("inactive_file".to_owned(), 7), ("zswap".to_owned(), 1)].into(),
            pids: 3,
            pids_limit: u64::MAX,
            networks: vec![NetworkStats {
                interface: "eth0".to_owned(),
                received_bytes: 11,
                ..NetworkStats::default()
            }],
            blocks: vec![BlockStats {
                major: 254,
                minor: 0,
                read: 1,
                written: 2,
            }],
            ..ContainerStats::default()
        }
    }

    #[test]
    fn the_first_figures_have_nothing_before_them() {
        let first = shape(None, &figures());
        assert_eq!(first["preread"], "0001-01-01T00:00:00Z");
        assert_eq!(first["precpu_stats"].get("system_cpu_usage"), None);
        assert_eq!(first["precpu_stats"]["cpu_usage"]["total_usage"], 0);
        let second = shape(Some(&figures()), &figures());
        assert_eq!(second["precpu_stats"], second["cpu_stats"]);
        assert_eq!(second["preread"], "2023-11-14T22:13:20.000000000Z");
    }

    #[test]
    fn every_interface_and_device_stands_by_itself() {
        let value = shape(None, &figures());
        assert_eq!(value["networks"]["eth0"]["rx_bytes"], 11);
        assert_eq!(
            value["blkio_stats"]["io_service_bytes_recursive"],
            json!([
                {"major": 254, "minor": 0, "op": "read", "value": 1},
                {"major": 254, "minor": 0, "op": "write", "value": 2},
            ])
        );
        assert_eq!(
            value["pids_stats"],
            json!({"current": 3, "limit": u64::MAX})
        );
        let memory = &value["memory_stats"];
        assert_eq!(
            (&memory["usage"], memory.get("failcnt")),
            (&json!(5000), None)
        );
        let stats = &memory["stats"];
        assert_eq!(
            (&stats["inactive_file"], &stats["anon"], &stats["zswap"]),
            (&json!(7), &json!(0), &json!(1))
        );
    }

    #[test]
    fn what_does_not_run_has_only_its_name() {
        let stopped = ContainerStats {
            id: "ab".to_owned(),
            name: "web".to_owned(),
            time_ns: 5,
            ..ContainerStats::default()
        };
        let value = shape(None, &stopped);
        assert_eq!(value["read"], "0001-01-01T00:00:00Z");
        assert_eq!(
            (&value["pids_stats"], &value["memory_stats"]),
            (&json!({}), &json!({}))
        );
        assert_eq!(value.get("networks"), None);
    }
}
