//! Containers, as `ps` and `inspect` show them.

use std::time::SystemTime;

use serde_json::{Map, Value, json};
use wherry_proto::v1::container::Status;
use wherry_proto::v1::mount::Kind;
use wherry_proto::v1::{Container, ContainerSpec, ImageConfig, Mount, MountPoint, PortBinding};

use super::health;
use super::host_config::host_config;
use super::human;
use super::network;
use super::reference::short_id;

/// The longest command in a table, characters.
const COMMAND_LENGTH: usize = 20;

/// Returns a container's state in Docker's word.
pub(crate) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Unspecified => "unknown",
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
        Status::Dead => "dead",
    }
}

/// Returns the fields of a container in `ps`, named as Docker's.
pub(crate) fn row(container: &Container, full: bool, now: SystemTime) -> Value {
    let spec = container.spec.clone().unwrap_or_default();
    let id = if full {
        &container.id
    } else {
        short_id(&container.id)
    };
    let labels: Vec<String> = sorted(&spec)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mounts: Vec<&str> = container
        .mounts
        .iter()
        .map(|mount| match mount.kind() {
            Kind::Volume => mount.name.as_str(),
            _ => mount.source.as_str(),
        })
        .filter(|source| !source.is_empty())
        .collect();
    let volumes = container
        .mounts
        .iter()
        .filter(|mount| mount.kind() == Kind::Volume)
        .count();
    json!({
        "Command": command(&container.args, full),
        "CreatedAt": human::date(container.created.as_ref()),
        "ID": id,
        "Image": spec.image,
        "Labels": labels.join(","),
        "LocalVolumes": volumes.to_string(),
        "Mounts": mounts.join(","),
        "Names": container.name,
        "Networks": network::names(&spec).join(","),
        "Ports": ports(container),
        "RunningFor": format!("{} ago", human::since(container.created.as_ref(), now)),
        "State": status_name(container.status()),
        "Status": status(container, now),
    })
}

fn sorted(spec: &ContainerSpec) -> impl Iterator<Item = (&String, &String)> {
    let mut labels: Vec<_> = spec.labels.iter().collect();
    labels.sort();
    labels.into_iter()
}

pub(super) fn mount_source(mount: &Mount) -> &str {
    if mount.host_source.is_empty() {
        &mount.source
    } else {
        &mount.host_source
    }
}

fn command(args: &[String], full: bool) -> String {
    let command = args.join(" ");
    let shown = if full || command.chars().count() <= COMMAND_LENGTH {
        command
    } else {
        let kept: String = command.chars().take(COMMAND_LENGTH - 1).collect();
        format!("{kept}…")
    };
    // As Go's %q: a command may have quotes and line ends in it.
    let mut quoted = String::from("\"");
    for c in shown.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.extend(c.escape_default()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn status(container: &Container, now: SystemTime) -> String {
    let up = || format!("Up {}", human::since(container.started.as_ref(), now));
    match container.status() {
        Status::Running => format!("{}{}", up(), health::suffix(container)),
        Status::Paused => format!("{} (Paused)", up()),
        Status::Restarting => format!(
            "Restarting ({}) {} ago",
            container.exit_code,
            human::since(container.finished.as_ref(), now)
        ),
        Status::Exited => format!(
            "Exited ({}) {} ago",
            container.exit_code,
            human::since(container.finished.as_ref(), now)
        ),
        Status::Created => "Created".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Unspecified => "Unknown".to_owned(),
    }
}

/// Returns the ports as `0.0.0.0:8000-8002->80-82/tcp, 443/tcp`, neighbours drawn together.
fn ports(container: &Container) -> String {
    if !matches!(container.status(), Status::Running | Status::Paused) {
        return String::new();
    }
    let mut bindings: Vec<PortBinding> = container.ports.clone();
    for exposed in exposed_ports(container) {
        let (port, protocol) = exposed.split_once('/').unwrap_or((&exposed, "tcp"));
        let Ok(container_port) = port.parse() else {
            continue;
        };
        let bound = |binding: &PortBinding| {
            binding.container_port == container_port && binding.protocol == protocol
        };
        if !bindings.iter().any(bound) {
            bindings.push(PortBinding {
                container_port,
                protocol: protocol.to_owned(),
                ..PortBinding::default()
            });
        }
    }
    bindings.sort_by(|a, b| {
        (&a.protocol, &a.host_address, a.container_port, a.host_port).cmp(&(
            &b.protocol,
            &b.host_address,
            b.container_port,
            b.host_port,
        ))
    });
    let mut runs: Vec<(PortBinding, u32)> = Vec::new();
    for binding in bindings {
        match runs.last_mut() {
            Some((first, count)) if continues(first, *count, &binding) => *count += 1,
            _ => runs.push((binding, 1)),
        }
    }
    let span = |first: u32, count: u32| match count {
        1 => first.to_string(),
        count => format!("{first}-{}", first + count - 1),
    };
    let shown = runs.iter().map(|(first, count)| {
        let inside = format!("{}/{}", span(first.container_port, *count), first.protocol);
        if first.host_port == 0 {
            return inside;
        }
        let address = match first.host_address.as_str() {
            address if address.contains(':') => format!("[{address}]"),
            address => address.to_owned(),
        };
        format!("{address}:{}->{inside}", span(first.host_port, *count))
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn continues(first: &PortBinding, count: u32, next: &PortBinding) -> bool {
    let host = match first.host_port {
        0 => 0,
        port => port + count,
    };
    next.protocol == first.protocol
        && next.host_address == first.host_address
        && next.container_port == first.container_port + count
        && next.host_port == host
}

/// Returns the ports that the image and the user exposed, `"80/tcp"`.
pub(crate) fn exposed_ports(container: &Container) -> Vec<String> {
    let image = container.image_config.iter();
    let own = container.spec.iter();
    image
        .flat_map(|config| &config.exposed_ports)
        .chain(own.flat_map(|spec| &spec.exposed_ports))
        .cloned()
        .collect()
}

/// Returns a container in the shape of `docker inspect`.
pub(crate) fn inspect(container: &Container) -> Value {
    let spec = container.spec.clone().unwrap_or_default();
    let image = container.image_config.clone().unwrap_or_default();
    let status = container.status();
    let (path, args) = match container.args.split_first() {
        Some((path, args)) => (path.as_str(), args),
        None => ("", &[][..]),
    };
    let mut inspected = json!({
        "Id": container.id,
        "Created": human::rfc3339(container.created.as_ref()),
        "Path": path,
        "Args": args,
        "State": {
            "Status": status_name(status),
            "Running": matches!(status, Status::Running | Status::Paused | Status::Restarting),
            "Paused": status == Status::Paused,
            "Restarting": status == Status::Restarting,
            "OOMKilled": container.oom_killed,
            "Dead": status == Status::Dead,
            "Pid": container.pid,
            "ExitCode": container.exit_code,
            "Error": container.error,
            "StartedAt": human::rfc3339(container.started.as_ref()),
            "FinishedAt": human::rfc3339(container.finished.as_ref()),
            "ShimPid": container.shim_pid,
            "ShimResident": container.shim_resident,
        },
        "Image": container.image_id,
        "LogPath": container.log_path,
        "Name": format!("/{}", container.name),
        "RestartCount": container.restart_count,
        "Driver": "overlayfs",
        "Platform": "linux",
        "HostConfig": host_config(&spec),
        "Mounts": container.mounts.iter().map(mount).collect::<Vec<_>>(),
        "Config": config(container, &spec, &image),
        "NetworkSettings": network_settings(container, &spec),
    });
    if let Some(health) = &container.health {
        inspected["State"]["Health"] = health::state(health);
    }
    let check = health::check(spec.health_check.as_ref(), image.health_check.as_ref());
    if let Some(check) = check {
        inspected["Config"]["Healthcheck"] = check;
    }
    inspected
}

fn mount(mount: &MountPoint) -> Value {
    let kind = match mount.kind() {
        Kind::Bind | Kind::Unspecified => "bind",
        Kind::Volume => "volume",
        Kind::Tmpfs => "tmpfs",
    };
    let mut value = json!({
        "Type": kind,
        "Source": mount.source,
        "Destination": mount.target,
        "Mode": if mount.read_only { "ro" } else { "" },
        "RW": !mount.read_only,
        "Propagation": if kind == "bind" { "rprivate" } else { "" },
    });
    if kind == "volume" {
        value["Name"] = mount.name.as_str().into();
        value["Driver"] = "local".into();
    }
    value
}

fn config(container: &Container, spec: &ContainerSpec, image: &ImageConfig) -> Value {
    let or = |own: &str, image: &str| {
        if own.is_empty() {
            image.to_owned()
        } else {
            own.to_owned()
        }
    };
    let mut labels = image.labels.clone();
    labels.extend(spec.labels.clone());
    let labels: Map<String, Value> = labels
        .into_iter()
        .map(|(key, value)| (key, value.into()))
        .collect();
    let mut env = image.env.clone();
    for variable in &spec.env {
        let name = |variable: &str| variable.split('=').next().map(str::to_owned);
        env.retain(|other| name(other) != name(variable));
        env.push(variable.clone());
    }
    let entrypoint = match () {
        () if spec.clear_entrypoint => Vec::new(),
        () if spec.entrypoint.is_empty() => image.entrypoint.clone(),
        () => spec.entrypoint.clone(),
    };
    // Docker drops the image's command where the entrypoint is replaced.
    let keeps_cmd = spec.entrypoint.is_empty() && !spec.clear_entrypoint;
    let cmd = if spec.cmd.is_empty() && keeps_cmd {
        &image.cmd
    } else {
        &spec.cmd
    };
    let exposed: Map<String, Value> = image
        .exposed_ports
        .iter()
        .chain(&spec.exposed_ports)
        .cloned()
        .chain(spec.ports.iter().map(port_name))
        .map(|port| (port, json!({})))
        .collect();
    let mut config = json!({
        "Hostname": or(&spec.hostname, short_id(&container.id)),
        "Domainname": spec.domainname,
        "User": or(&spec.user, &image.user),
        "Tty": spec.terminal,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": env,
        "Cmd": cmd,
        "Image": spec.image,
        "WorkingDir": or(&spec.working_dir, &image.working_dir),
        "Entrypoint": entrypoint,
        "Labels": labels,
        "ExposedPorts": exposed,
        "StopSignal": or(&spec.stop_signal, &image.stop_signal),
    });
    if let Some(seconds) = spec.stop_timeout_seconds {
        // -1 is for ever.
        config["StopTimeout"] = i32::from_ne_bytes(seconds.to_ne_bytes()).into();
    }
    config
}

fn network_settings(container: &Container, spec: &ContainerSpec) -> Value {
    let mut ports = port_map(&container.ports);
    for exposed in exposed_ports(container) {
        ports.entry(exposed).or_insert(Value::Null);
    }
    let first = container.endpoints.first();
    let endpoint = first.map_or("", |place| place.endpoint.as_str());
    json!({
        "IPAddress": container.ip_address,
        "IPPrefixLen": container.prefix_length,
        "Gateway": container.gateway,
        "MacAddress": container.mac_address,
        "EndpointID": endpoint,
        "Ports": ports,
        "Networks": network::places(container, spec),
    })
}

fn port_name(binding: &PortBinding) -> String {
    format!("{}/{}", binding.container_port, binding.protocol)
}

pub(super) fn port_map(bindings: &[PortBinding]) -> Map<String, Value> {
    let mut map = Map::new();
    for binding in bindings {
        let host = match (binding.host_port, binding.host_port_last) {
            (0, _) => String::new(),
            (port, 0) => port.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let entry = map.entry(port_name(binding)).or_insert_with(|| json!([]));
        if let Value::Array(hosts) = entry {
            hosts.push(json!({"HostIp": binding.host_address, "HostPort": host}));
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Timestamp;
    use std::time::Duration;
    use wherry_proto::v1::Resources;

    fn time(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn binding(host_address: &str, host_port: u32, container_port: u32) -> PortBinding {
        PortBinding {
            container_port,
            protocol: "tcp".to_owned(),
            host_address: host_address.to_owned(),
            host_port,
            host_port_last: 0,
        }
    }

    fn web() -> Container {
        Container {
            id: "0123456789abcdef".repeat(4),
            name: "web".to_owned(),
            spec: Some(ContainerSpec {
                image: "nginx".to_owned(),
                env: vec!["PATH=/mine".to_owned(), "A=1".to_owned()],
                labels: [
                    ("b".to_owned(), "2".to_owned()),
                    ("a".to_owned(), "1".to_owned()),
                ]
                .into(),
                mounts: vec![Mount {
                    kind: Kind::Bind.into(),
                    source: "/mnt/host/srv".to_owned(),
                    target: "/data".to_owned(),
                    read_only: true,
                    host_source: "/srv".to_owned(),
                    ..Mount::default()
                }],
                ports: vec![binding("", 8000, 80)],
                resources: Some(Resources {
                    memory: 512 << 20,
                    nano_cpus: 1_500_000_000,
                    ..Resources::default()
                }),
                ..ContainerSpec::default()
            }),
            image_id: "sha256:feed".to_owned(),
            status: Status::Running.into(),
            pid: 42,
            created: time(1_700_000_000),
            started: time(1_700_000_060),
            endpoints: vec![wherry_proto::v1::NetworkEndpoint {
                network: "a".repeat(64),
                network_name: "bridge".to_owned(),
                endpoint: "e".repeat(64),
                ip_address: "172.17.0.2".to_owned(),
                prefix_length: 16,
                gateway: "172.17.0.1".to_owned(),
                names: vec!["web".to_owned()],
                ..Default::default()
            }],
            ip_address: "172.17.0.2".to_owned(),
            gateway: "172.17.0.1".to_owned(),
            prefix_length: 16,
            ports: vec![
                binding("127.0.0.1", 8001, 81),
                binding("127.0.0.1", 8000, 80),
                binding("::1", 9000, 90),
            ],
            args: ["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"]
                .map(str::to_owned)
                .to_vec(),
            mounts: vec![
                MountPoint {
                    kind: Kind::Bind.into(),
                    source: "/srv".to_owned(),
                    target: "/data".to_owned(),
                    read_only: true,
                    ..MountPoint::default()
                },
                MountPoint {
                    kind: Kind::Volume.into(),
                    name: "cache".to_owned(),
                    source: "/var/lib/wherry/volumes/cache/_data".to_owned(),
                    target: "/cache".to_owned(),
                    ..MountPoint::default()
                },
            ],
            image_config: Some(ImageConfig {
                env: vec!["PATH=/usr/bin".to_owned()],
                cmd: vec!["nginx".to_owned()],
                exposed_ports: vec!["80/tcp".to_owned(), "443/tcp".to_owned()],
                ..ImageConfig::default()
            }),
            ..Container::default()
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_180)
    }

    #[test]
    fn a_row_has_the_fields_of_dockers() {
        insta::assert_snapshot!(format!("{:#}", row(&web(), false, now())));
    }

    #[test]
    fn inspect_has_the_shape_of_dockers() {
        insta::assert_snapshot!(format!("{:#}", inspect(&web())));
    }

    #[test]
    fn states_are_said_in_dockers_words() {
        let mut container = web();
        for (state, words) in [
            (Status::Running, "Up 2 minutes"),
            (Status::Paused, "Up 2 minutes (Paused)"),
            (Status::Exited, "Exited (137) 30 seconds ago"),
            (Status::Restarting, "Restarting (137) 30 seconds ago"),
            (Status::Created, "Created"),
        ] {
            container.status = state.into();
            container.exit_code = 137;
            container.finished = time(1_700_000_150);
            assert_eq!(status(&container, now()), words);
        }
    }

    #[test]
    fn a_command_is_quoted_and_cut() {
        let args = |text: &str| vec![text.to_owned()];
        assert_eq!(command(&args("sh"), false), "\"sh\"");
        assert_eq!(
            command(&args("/docker-entrypoint.sh nginx"), false),
            "\"/docker-entrypoint.…\""
        );
        assert_eq!(
            command(&args("echo \"a\nb\""), true),
            "\"echo \\\"a\\nb\\\"\""
        );
    }
}
