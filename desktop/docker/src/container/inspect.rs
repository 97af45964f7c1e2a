//! What `docker inspect` says of a container.

use serde_json::{Map, Value, json};
use wherry_proto::v1::container::Status;
use wherry_proto::v1::mount::Kind;
use wherry_proto::v1::{Container, ContainerSpec, ImageConfig};

use super::host_config::{given, host_config};
use super::{
    command, exposed_ports, health, is_running, labels, mount, port_map, port_name, status_name,
};
use crate::reference::short_id;
use crate::{human, network, omit_empty, or_null};

/// Returns a container in the shape of `docker inspect`.
pub fn inspect(container: &Container) -> Value {
    let spec = container.spec.clone().unwrap_or_default();
    let image = container.image_config.clone().unwrap_or_default();
    let given = given(&spec);
    let status = container.status();
    let (path, args) = match command(container).split_first() {
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
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": or_null(json!(container.execs)),
        "GraphDriver": { "Data": null, "Name": "overlayfs" },
        // There is no file before something is written.
        "LogPath": if container.started.is_some() { &*container.log_path } else { "" },
        "Name": format!("/{}", container.name),
        "RestartCount": container.restart_count,
        "Driver": "overlayfs",
        "Platform": "linux",
        "HostConfig": host_config(&spec),
        "Mounts": mounts(container, given.as_ref()),
        "Config": config(container, &spec, &image, given.as_ref()),
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

fn config(
    container: &Container,
    spec: &ContainerSpec,
    image: &ImageConfig,
    given: Option<&Value>,
) -> Value {
    let or = |own: &str, image: &str| {
        if own.is_empty() {
            image.to_owned()
        } else {
            own.to_owned()
        }
    };
    let mut env: Vec<String> = Vec::new();
    for variable in spec.env.iter().rev().chain(&image.env) {
        let name = |variable: &str| variable.split('=').next().map(str::to_owned);
        if env.iter().all(|other| name(other) != name(variable)) {
            env.push(variable.clone());
        }
    }
    // The container's own in its order, then those of the image.
    let own = env.iter().filter(|variable| spec.env.contains(variable));
    let own = own.count();
    env[..own].reverse();
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
    let attaches = |name: &str, otherwise: bool| match given {
        Some(given) => given[name].as_bool().unwrap_or_default(),
        None => otherwise,
    };
    let mut config = json!({
        "Hostname": or(&spec.hostname, short_id(&container.id)),
        "Domainname": spec.domainname,
        "User": or(&spec.user, &image.user),
        "Tty": spec.terminal,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": env,
        "Cmd": or_null(json!(cmd)),
        "Image": spec.image,
        "WorkingDir": or(&spec.working_dir, &image.working_dir),
        "Entrypoint": or_null(entrypoint),
        "Volumes": or_null(volumes(container)),
        "OnBuild": null,
        "AttachStdin": attaches("AttachStdin", spec.open_stdin),
        "AttachStdout": attaches("AttachStdout", true),
        "AttachStderr": attaches("AttachStderr", true),
        "Labels": labels(container),
        "ExposedPorts": exposed,
        "StopSignal": or(&spec.stop_signal, &image.stop_signal),
        "MacAddress": mac_address(spec),
    });
    omit_empty(&mut config, &["ExposedPorts", "StopSignal", "MacAddress"]);
    if let Some(seconds) = spec.stop_timeout_seconds {
        // -1 is for ever.
        config["StopTimeout"] = i32::from_ne_bytes(seconds.to_ne_bytes()).into();
    }
    config
}

/// The address that was asked for on the network that the container is made on, which
/// before 1.44 was one of the container's own.
fn mac_address(spec: &ContainerSpec) -> &str {
    let mode = network::mode(spec);
    let place = spec.networks.iter().find(|place| place.network == mode);
    place.map_or("", |place| &place.mac_address)
}

/// The mounts but those of `Tmpfs`, and of each the mode as it was written in a bind.
fn mounts(container: &Container, given: Option<&Value>) -> Vec<Value> {
    let host = given.map_or(&Value::Null, |given| &given["HostConfig"]);
    let binds = host["Binds"].as_array().into_iter().flatten();
    let binds: Vec<Vec<&str>> = binds
        .filter_map(|bind| Some(bind.as_str()?.rsplitn(3, ':').collect()))
        .collect();
    let told = container
        .mounts
        .iter()
        .filter(|mount| mount.kind() != Kind::Tmpfs || host["Tmpfs"].get(&mount.target).is_none());
    told.map(|point| {
        let mut value = mount(point);
        let mode = binds.iter().find_map(|parts| match parts[..] {
            [mode, target, _] if target == point.target => Some(mode),
            _ => None,
        });
        if let Some(mode) = mode {
            value["Mode"] = mode.into();
        }
        value
    })
    .collect()
}

/// The targets of volumes without a name, and of those of the image.
fn volumes(container: &Container) -> Map<String, Value> {
    let image = container.image_config.iter();
    let own = container.spec.iter().flat_map(|spec| &spec.mounts);
    let anonymous = own.filter(|mount| mount.kind() == Kind::Volume && mount.source.is_empty());
    image
        .flat_map(|config| config.volumes.clone())
        .chain(anonymous.map(|mount| mount.target.clone()))
        .map(|target| (target, json!({})))
        .collect()
}

fn network_settings(container: &Container, spec: &ContainerSpec) -> Value {
    let mut ports = port_map(&container.ports);
    if is_running(container) {
        for exposed in exposed_ports(container) {
            ports.entry(exposed).or_insert(Value::Null);
        }
    }
    let first = container.endpoints.first().cloned().unwrap_or_default();
    json!({
        "IPAddress": container.ip_address,
        "IPPrefixLen": container.prefix_length,
        "Gateway": container.gateway,
        "MacAddress": container.mac_address,
        "EndpointID": first.endpoint,
        "IPv6Gateway": first.ipv6_gateway,
        "GlobalIPv6Address": first.ipv6_address,
        "GlobalIPv6PrefixLen": first.ipv6_prefix_length,
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "Ports": ports,
        "Networks": network::places(container, spec),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::sample::web;

    #[test]
    fn inspect_has_the_shape_of_dockers() {
        insta::assert_snapshot!(format!("{:#}", inspect(&web())));
    }
}
