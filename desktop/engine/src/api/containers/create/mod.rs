//! `POST /containers/create`: Docker's description of a container as the guest's.

mod limits;
mod mounts;

use std::collections::HashMap;

use bollard_stubs::models::{ContainerCreateBody, EndpointSettings, HostConfig, PortMap};
use serde_json::{Value, json};
use wherry_proto::v1::{
    ContainerSpec, LogConfig, NetworkAttachment, PathList, PortBinding, Ulimit,
};

use crate::api::body;
use crate::api::error::{ApiError, Result};
use crate::api::networks::attachment;
pub(super) use limits::health_check;
use limits::{device, number, unsigned};

pub(super) use limits::{resources, restart};
pub(super) use mounts::folders;

/// Translates a whole description.
///
/// # Errors
///
/// 400 for values out of their range, 501 for what this engine does not have.
pub(super) fn spec(name: &str, body: ContainerCreateBody) -> Result<ContainerSpec> {
    let docker = given(&body);
    let host = body.host_config.unwrap_or_default();
    refuse_what_is_missing(&host)?;
    let mounts = mounts::all(&host, body.volumes.unwrap_or_default())?;
    // An entrypoint of one empty word takes the image's away.
    let entrypoint = body.entrypoint.unwrap_or_default();
    let clear_entrypoint = entrypoint == [""];
    let [rows, columns] = body::terminal_size(host.console_size.as_deref());
    let (restart_policy, restart_retries) = restart(host.restart_policy.as_ref())?;
    let (network, networks) = networks(
        body.network_disabled.unwrap_or_default(),
        &host,
        body.networking_config
            .and_then(|config| config.endpoints_config)
            .unwrap_or_default(),
    );
    let log = host.log_config.clone().unwrap_or_default();
    Ok(ContainerSpec {
        image: body.image.unwrap_or_default(),
        name: name.trim_start_matches('/').to_owned(),
        cmd: body.cmd.unwrap_or_default(),
        entrypoint: if clear_entrypoint {
            Vec::new()
        } else {
            entrypoint
        },
        clear_entrypoint,
        env: body.env.unwrap_or_default(),
        working_dir: body.working_dir.unwrap_or_default(),
        user: body.user.unwrap_or_default(),
        hostname: body.hostname.unwrap_or_default(),
        domainname: body.domainname.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
        terminal: body.tty.unwrap_or_default(),
        open_stdin: body.open_stdin.unwrap_or_default(),
        stdin_once: body.stdin_once.unwrap_or_default(),
        auto_remove: host.auto_remove.unwrap_or_default(),
        mounts,
        ports: ports(host.port_bindings.as_ref())?,
        exposed_ports: body.exposed_ports.unwrap_or_default(),
        publish_all: host.publish_all_ports.unwrap_or_default(),
        resources: Some(resources(&host)?),
        privileged: host.privileged.unwrap_or_default(),
        read_only: host.readonly_rootfs.unwrap_or_default(),
        cap_add: host.cap_add.unwrap_or_default(),
        cap_drop: host.cap_drop.unwrap_or_default(),
        security_opt: host.security_opt.unwrap_or_default(),
        stop_signal: body.stop_signal.unwrap_or_default(),
        terminal_rows: rows,
        terminal_columns: columns,
        extra_hosts: host.extra_hosts.unwrap_or_default(),
        dns: host.dns.unwrap_or_default(),
        pid_mode: host.pid_mode.unwrap_or_default(),
        ipc_mode: host.ipc_mode.unwrap_or_default(),
        uts_mode: host.uts_mode.unwrap_or_default(),
        volumes_from: host.volumes_from.unwrap_or_default(),
        restart_policy,
        restart_retries,
        health_check: body.healthcheck.map(health_check).transpose()?,
        init: host.init.unwrap_or_default(),
        shm_size: unsigned("ShmSize", host.shm_size)?,
        sysctls: host.sysctls.unwrap_or_default(),
        group_add: host.group_add.unwrap_or_default(),
        devices: host
            .devices
            .unwrap_or_default()
            .into_iter()
            .map(device)
            .collect(),
        ulimits: host
            .ulimits
            .unwrap_or_default()
            .into_iter()
            .map(|limit| Ulimit {
                name: limit.name.unwrap_or_default(),
                soft: limit.soft.unwrap_or_default(),
                hard: limit.hard.unwrap_or_default(),
            })
            .collect(),
        oom_score_adj: number("OomScoreAdj", host.oom_score_adj)?,
        stop_timeout_seconds: body
            .stop_timeout
            .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
        cgroupns_mode: host
            .cgroupns_mode
            .map_or_else(String::new, |mode| mode.to_string()),
        annotations: host.annotations.unwrap_or_default(),
        log: Some(LogConfig {
            driver: log.typ.unwrap_or_default(),
            options: log.config.unwrap_or_default(),
        }),
        device_cgroup_rules: host.device_cgroup_rules.unwrap_or_default(),
        init_system: String::new(),
        network,
        networks,
        dns_search: host.dns_search.unwrap_or_default(),
        dns_options: host.dns_options.unwrap_or_default(),
        masked_paths: host.masked_paths.map(|paths| PathList { paths }),
        readonly_paths: host.readonly_paths.map(|paths| PathList { paths }),
        docker,
    })
}

/// Returns what inspect tells as the client wrote it.
fn given(body: &ContainerCreateBody) -> String {
    let mut given = json!({
        "AttachStdin": body.attach_stdin,
        "AttachStdout": body.attach_stdout,
        "AttachStderr": body.attach_stderr,
        "HostConfig": body.host_config,
    });
    if let Some(Value::Object(host)) = given.get_mut("HostConfig") {
        // Its fields that change are told as they are.
        for changing in ["RestartPolicy", "LogConfig"] {
            host.remove(changing);
        }
    }
    given.to_string()
}

/// Returns the network that a container is made on, or the mode that it has instead.
pub(in crate::api) fn network_mode(host: &HostConfig) -> &str {
    match host.network_mode.as_deref() {
        None | Some("" | "default") => "bridge",
        Some(mode) => mode,
    }
}

/// Tells whether a container in a mode has places on networks.
pub(in crate::api) fn has_networks(mode: &str) -> bool {
    !matches!(mode, "host" | "none") && !mode.starts_with("container:")
}

/// Returns the network that the description names first, and every place on one
/// where more is said of them than the name.
fn networks(
    disabled: bool,
    host: &HostConfig,
    mut endpoints: HashMap<String, EndpointSettings>,
) -> (String, Vec<NetworkAttachment>) {
    let mode = match disabled {
        true => "none",
        false => network_mode(host),
    };
    if !has_networks(mode) {
        return (mode.to_owned(), Vec::new());
    }
    let of_default = endpoints.remove("default").filter(|_| mode == "bridge");
    let first = endpoints.remove(mode).or(of_default).unwrap_or_default();
    let mut first = attachment(mode.to_owned(), first);
    first.links.extend(host.links.iter().flatten().cloned());
    let mut others: Vec<_> = endpoints
        .into_iter()
        .map(|(name, settings)| attachment(name, settings))
        .collect();
    // A map has no order; addresses should not change from call to call.
    others.sort_by(|a, b| a.network.cmp(&b.network));
    let plain = NetworkAttachment {
        network: mode.to_owned(),
        ..NetworkAttachment::default()
    };
    if others.is_empty() && first == plain {
        return (mode.to_owned(), Vec::new());
    }
    others.insert(0, first);
    (mode.to_owned(), others)
}

/// Tells what of a description is left out, in Docker's words: what version 2 of
/// cgroups has not.
pub(super) fn warnings(host: &HostConfig) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if host.oom_kill_disable == Some(true) {
        warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
    }
    if host.memory_swappiness.is_some_and(|percent| percent != -1) {
        warnings.push(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
        );
    }
    warnings
}

/// Refuses by name what the guest cannot do, where a client asks for it.
fn refuse_what_is_missing(host: &HostConfig) -> Result<()> {
    let missing = [
        (
            host.cpu_realtime_period.unwrap_or(0) != 0,
            "CpuRealtimePeriod",
        ),
        (
            host.cpu_realtime_runtime.unwrap_or(0) != 0,
            "CpuRealtimeRuntime",
        ),
        (
            host.device_requests
                .as_ref()
                .is_some_and(|list| !list.is_empty()),
            "DeviceRequests",
        ),
        (
            !matches!(host.userns_mode.as_deref(), None | Some("" | "host")),
            "UsernsMode",
        ),
        (
            !matches!(host.volume_driver.as_deref(), None | Some("" | "local")),
            "VolumeDriver",
        ),
        (
            host.storage_opt.as_ref().is_some_and(|map| !map.is_empty()),
            "StorageOpt",
        ),
    ];
    let runtimes = ["", "runc", "io.containerd.runc.v2", "wherry"];
    if let Some(name) = host.runtime.as_deref()
        && !runtimes.contains(&name)
    {
        return Err(ApiError::bad_request(format!(
            "unknown or invalid runtime name: {name}"
        )));
    }
    match missing.iter().find(|(asked, _)| *asked) {
        Some((_, name)) => Err(ApiError::not_implemented(format!(
            "HostConfig.{name} is not supported by Wherry"
        ))),
        None => Ok(()),
    }
}

/// Translates port bindings. A port that names none of the host's is published on
/// one of the engine's choice; one without any binding is not published.
fn ports(map: Option<&PortMap>) -> Result<Vec<PortBinding>> {
    let mut ports = Vec::new();
    for (port, bindings) in map.into_iter().flatten() {
        let invalid =
            |what: &str| ApiError::bad_request(format!("invalid port specification: {what:?}"));
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let container_port = number.parse::<u16>().map_err(|_| invalid(port))?.into();
        for binding in bindings.iter().flatten() {
            let host = binding.host_port.as_deref().unwrap_or_default();
            let (first, last) = host.split_once('-').unwrap_or((host, ""));
            let parse = |text: &str| match text {
                "" => Ok(0),
                text => text
                    .parse::<u16>()
                    .map(u32::from)
                    .map_err(|_| invalid(host)),
            };
            ports.push(PortBinding {
                container_port,
                protocol: protocol.to_lowercase(),
                host_address: binding.host_ip.clone().unwrap_or_default(),
                host_port: parse(first)?,
                host_port_last: parse(last)?,
            });
        }
    }
    // A map has no order; what is bound first should not change from call to call.
    ports.sort_by(|a, b| (a.container_port, &a.protocol).cmp(&(b.container_port, &b.protocol)));
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use wherry_proto::v1::mount::Kind;

    fn made(body: &Value) -> std::result::Result<ContainerSpec, String> {
        let body: ContainerCreateBody = crate::api::body::parse(body.to_string().as_bytes())
            .map_err(|error| error.message().to_owned())?;
        spec("/web", body).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_description_of_dockers_command_becomes_the_guests() {
        let spec = made(&json!({
            "Image": "nginx", "Cmd": ["-g", "x"], "Entrypoint": [""], "StopTimeout": -1,
            "Volumes": {"/anonymous": {}, "/data": {}}, "Healthcheck": {"Test": ["CMD", "true"]},
            "HostConfig": {
                "Binds": ["/srv:/www:ro,z", "data:/data", "C:\\x:/c"],
                "Tmpfs": {"/t": "size=1m"}, "PidsLimit": -1, "NetworkMode": "default",
                "Mounts": [{"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"NoCopy": true}}],
                "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080-8090"}], "53/UDP": [{"HostPort": ""}], "9/tcp": null},
                "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}
            }
        })).unwrap();
        assert_eq!(
            (&*spec.name, &*spec.network, spec.clear_entrypoint),
            ("web", "bridge", true)
        );
        assert_eq!(spec.stop_timeout_seconds, Some(u32::MAX));
        let mounts: Vec<_> = spec
            .mounts
            .iter()
            .map(|mount| {
                (
                    mount.kind(),
                    &*mount.host_source,
                    &*mount.source,
                    &*mount.target,
                )
            })
            .collect();
        assert_eq!(
            mounts,
            [
                (Kind::Bind, "/srv", "", "/www"),
                (Kind::Volume, "", "data", "/data"),
                (Kind::Bind, "C:\\x", "", "/c"),
                (Kind::Tmpfs, "", "", "/t"),
                (Kind::Volume, "", "v", "/v"),
                (Kind::Volume, "", "", "/anonymous"),
            ]
        );
        assert!(spec.mounts[0].read_only && spec.mounts[4].no_copy);
        let ports: Vec<_> = spec
            .ports
            .iter()
            .map(|port| {
                (
                    port.container_port,
                    &*port.protocol,
                    port.host_port,
                    port.host_port_last,
                )
            })
            .collect();
        assert_eq!(ports, [(53, "udp", 0, 0), (80, "tcp", 8080, 8090)]);
        assert_eq!(
            (&*spec.restart_policy, spec.restart_retries),
            ("on-failure", 3)
        );
    }

    #[test]
    fn networks_keep_what_is_said_of_each() {
        let of = |config: Value| {
            let spec = made(&json!({"Image": "x", "HostConfig": config["h"], "NetworkingConfig": {"EndpointsConfig": config["e"]}})).unwrap();
            (spec.network, spec.networks)
        };
        let (network, places) = of(json!({"h": {"NetworkMode": "front"}, "e": {"front": {}}}));
        assert_eq!((&*network, places.len()), ("front", 0));
        let (_, places) = of(json!({
            "h": {"NetworkMode": "front", "Links": ["db:store"]},
            "e": {"back": {"IPAMConfig": {"IPv4Address": "10.0.0.5"}}, "front": {"Aliases": ["w"]}}
        }));
        let names: Vec<_> = places.iter().map(|place| &*place.network).collect();
        assert_eq!(names, ["front", "back"]);
        assert_eq!(
            (&*places[0].aliases[0], &*places[0].links[0]),
            ("w", "db:store")
        );
        assert_eq!(places[1].ipv4_address, "10.0.0.5");
        let (network, places) = of(json!({"h": {"NetworkMode": "host"}, "e": {"host": {}}}));
        assert_eq!((&*network, places.len()), ("host", 0));
    }

    #[test]
    fn what_is_not_here_is_refused_by_name() {
        for (config, words) in [
            (json!({"DeviceRequests": [{"Count": 1}]}), "DeviceRequests"),
            (json!({"UsernsMode": "private"}), "UsernsMode"),
            (json!({"Binds": [":/x"]}), "invalid volume specification"),
            (
                json!({"Binds": ["/x:relative"]}),
                "invalid volume specification",
            ),
            (
                json!({"Mounts": [{"Type": "npipe", "Target": "/x"}]}),
                "npipe",
            ),
            (json!({"Memory": -1}), "Memory"),
            (json!({"PortBindings": {"99999/tcp": []}}), "invalid port"),
        ] {
            let error = made(&json!({"Image": "x", "HostConfig": config})).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn missing_folders_of_short_binds_are_made() {
        let body = json!({"HostConfig": {"Binds": ["/a:/b", "name:/c"], "Mounts": [
            {"Type": "bind", "Source": "/no", "Target": "/d"},
            {"Type": "bind", "Source": "/yes", "Target": "/e", "BindOptions": {"CreateMountpoint": true}}
        ]}});
        let body: ContainerCreateBody = serde_json::from_value(body).unwrap();
        assert_eq!(folders(&body), [PathBuf::from("/a"), PathBuf::from("/yes")]);
    }
}
