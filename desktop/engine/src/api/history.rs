//! What older versions of the API have otherwise: fields that came or went, and what
//! was not listened to yet. Held to what dockerd 28.5 answers in each version.

use bollard_stubs::models::ContainerCreateBody;
use serde_json::{Map, Value, json};

use super::containers::{has_networks, network_mode};
use super::error::{ApiError, Result};
use super::version::ApiVersion;

const fn v(minor: u16) -> ApiVersion {
    ApiVersion::minor(minor)
}

/// Takes out of a container's description what a client of this version cannot have
/// meant, and sets what it counted on.
pub(super) fn container_of_client(body: &mut ContainerCreateBody, version: ApiVersion) {
    if version < v(44)
        && let Some(check) = &mut body.healthcheck
    {
        check.start_interval = None;
    }
    let host = body.host_config.get_or_insert_default();
    if version < v(40) && host.ipc_mode.as_deref().unwrap_or_default().is_empty() {
        host.ipc_mode = Some("shareable".to_owned());
    }
    if version < v(42) {
        host.console_size = None;
    }
    if version < v(43) {
        host.annotations = None;
    }
    for mount in host.mounts.iter_mut().flatten() {
        if version < v(42)
            && let Some(options) = &mut mount.bind_options
        {
            options.create_mountpoint = None;
        }
        if version < v(45)
            && let Some(options) = &mut mount.volume_options
        {
            options.subpath = None;
        }
        if version < v(46)
            && let Some(options) = &mut mount.tmpfs_options
        {
            options.options = None;
        }
    }
}

/// Gives the address of a whole container, which since 1.44 is said with each of its
/// networks, to its place on the first. Returns a warning of Docker's.
///
/// # Errors
///
/// 400 where the two differ, or the container has no network of its own.
pub(super) fn address_of_container(
    body: &mut ContainerCreateBody,
    address: &str,
    version: ApiVersion,
) -> Result<Option<&'static str>> {
    let host = body.host_config.get_or_insert_default();
    let mode = network_mode(host).to_owned();
    let warning = (version >= v(44)).then_some(
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.",
    );
    if !has_networks(&mode) {
        return match version < v(44) {
            true => Err(ApiError::bad_request(
                "conflicting options: mac-address and the network mode",
            )),
            false => Ok(warning),
        };
    }
    let networks = body.networking_config.get_or_insert_default();
    let places = networks.endpoints_config.get_or_insert_default();
    let own = &mut places.entry(mode).or_default().mac_address;
    let differs = own
        .as_ref()
        .is_some_and(|own| !own.is_empty() && own != address);
    if version >= v(44) && differs {
        return Err(ApiError::bad_request(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
        ));
    }
    *own = Some(address.to_owned());
    Ok(warning)
}

/// Adds to a container's inspect that it answered to its id and host name, too, on
/// the networks that users made.
pub(super) fn container(value: &mut Value, version: ApiVersion) {
    if version >= v(45) {
        return;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id: String = text(&value["Id"]).chars().take(12).collect();
    let own = [id, text(&value["Config"]["Hostname"])];
    let Value::Object(networks) = &mut value["NetworkSettings"]["Networks"] else {
        return;
    };
    for (name, place) in networks {
        if matches!(name.as_str(), "bridge" | "host" | "none" | "default") {
            continue;
        }
        let known = place["Aliases"].as_array().cloned().unwrap_or_default();
        let mut aliases: Vec<Value> = Vec::new();
        for alias in known.into_iter().chain(own.clone().map(Value::from)) {
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
        place["Aliases"] = aliases.into();
    }
}

/// Changes a row of the list of images, which `containers` were made of.
pub(super) fn image_row(row: &mut Value, containers: usize, version: ApiVersion) {
    if version >= v(51) {
        row["Containers"] = containers.into();
    }
    if version < v(44) {
        row["VirtualSize"] = row["Size"].clone();
    }
    if version < v(43) {
        let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
        if is_empty(&row["RepoDigests"]) {
            row["RepoDigests"] = Value::Null;
            if is_empty(&row["RepoTags"]) {
                row["RepoTags"] = json!(["<none>:<none>"]);
                row["RepoDigests"] = json!(["<none>@<none>"]);
            }
        }
    }
}

/// Changes an image's inspect.
pub(super) fn image(value: &mut Value, version: ApiVersion) {
    if version < v(50)
        && let Value::Object(config) = &mut value["Config"]
    {
        config.extend(of_containers());
    }
    if version < v(45) {
        let mut config = of_containers();
        for key in ["Env", "Cmd", "Volumes", "Entrypoint", "OnBuild", "Labels"] {
            config.insert(key.to_owned(), Value::Null);
        }
        config.insert("User".to_owned(), "".into());
        config.insert("WorkingDir".to_owned(), "".into());
        value["ContainerConfig"] = config.into();
    }
    if version < v(44) {
        value["VirtualSize"] = value["Size"].clone();
    }
}

/// What the configuration of images had of that of containers.
fn of_containers() -> Map<String, Value> {
    let texts = ["Hostname", "Domainname", "Image"].map(|key| (key.to_owned(), "".into()));
    let flags = [
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "Tty",
        "OpenStdin",
        "StdinOnce",
    ];
    let flags = flags.map(|key| (key.to_owned(), false.into()));
    texts.into_iter().chain(flags).collect()
}

/// Changes what is told of the engine.
pub(super) fn info(value: &mut Value, version: ApiVersion) {
    if version >= v(49) {
        value["FirewallBackend"] = json!({"Driver": "nftables"});
        for commit in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            value[commit] = json!({"ID": ""});
        }
    }
    if version < v(50) {
        for name in ["BridgeNfIptables", "BridgeNfIp6tables"] {
            value[name] = true.into();
        }
    }
    if version < v(47) {
        for name in [
            "AllowNondistributableArtifactsCIDRs",
            "AllowNondistributableArtifactsHostnames",
        ] {
            value["RegistryConfig"][name] = Value::Null;
        }
    }
    if version < v(42) {
        value["KernelMemory"] = false.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(version: u16) -> ContainerCreateBody {
        let body = json!({
            "Healthcheck": {"Test": ["CMD", "true"], "StartInterval": 1},
            "HostConfig": {
                "ConsoleSize": [24, 80],
                "Annotations": {"a": "b"},
                "Mounts": [
                    {"Type": "bind", "BindOptions": {"CreateMountpoint": true}},
                    {"Type": "volume", "VolumeOptions": {"Subpath": "x"}},
                    {"Type": "tmpfs", "TmpfsOptions": {"Options": [["exec"]]}},
                ],
            },
        });
        let mut body = serde_json::from_value(body).unwrap();
        container_of_client(&mut body, v(version));
        body
    }

    #[test]
    fn what_came_later_is_not_listened_to() {
        let newest = created(51);
        for (since, told) in [
            (
                40,
                &(|body: &ContainerCreateBody| host(body).ipc_mode.is_none())
                    as &dyn Fn(&ContainerCreateBody) -> bool,
            ),
            (42, &|body| host(body).console_size.is_some()),
            (42, &|body| {
                let options = mount(body, 0).bind_options.clone();
                options.unwrap().create_mountpoint == Some(true)
            }),
            (43, &|body| host(body).annotations.is_some()),
            (44, &|body| {
                body.healthcheck.as_ref().unwrap().start_interval == Some(1)
            }),
            (45, &|body| {
                mount(body, 1)
                    .volume_options
                    .as_ref()
                    .unwrap()
                    .subpath
                    .is_some()
            }),
            (46, &|body| {
                mount(body, 2)
                    .tmpfs_options
                    .as_ref()
                    .unwrap()
                    .options
                    .is_some()
            }),
        ] {
            assert!(told(&newest) && told(&created(since)), "since {since}");
            assert!(!told(&created(since - 1)), "before {since}");
        }
        assert_eq!(host(&created(39)).ipc_mode.as_deref(), Some("shareable"));
    }

    fn host(body: &ContainerCreateBody) -> &bollard_stubs::models::HostConfig {
        body.host_config.as_ref().unwrap()
    }

    fn mount(body: &ContainerCreateBody, place: usize) -> &bollard_stubs::models::Mount {
        &host(body).mounts.as_ref().unwrap()[place]
    }

    #[test]
    fn an_address_of_the_whole_container_is_that_on_its_first_network() {
        let told = |version, mode: &str, own: &str| {
            let mut body = serde_json::from_value(json!({
                "HostConfig": {"NetworkMode": mode},
                "NetworkingConfig": {"EndpointsConfig": {"front": {"MacAddress": own}}},
            }))
            .unwrap();
            let warning = address_of_container(&mut body, "02:00:00:00:00:01", v(version));
            let places = body.networking_config.unwrap().endpoints_config.unwrap();
            let address = |name: &str| places.get(name)?.mac_address.clone();
            warning.map(|warning| (warning.is_some(), address("front"), address("bridge")))
        };
        let address = || Some("02:00:00:00:00:01".to_owned());
        let empty = || Some(String::new());
        assert_eq!(told(43, "front", "").unwrap(), (false, address(), None));
        assert_eq!(told(44, "front", "").unwrap(), (true, address(), None));
        assert_eq!(told(44, "default", "").unwrap(), (true, empty(), address()));
        let other = "02:00:00:00:00:02";
        assert_eq!(told(43, "front", other).unwrap(), (false, address(), None));
        assert!(told(44, "front", other).is_err());
        assert!(told(43, "none", "").is_err());
        assert_eq!(told(44, "host", "").unwrap(), (true, empty(), None));
    }

    fn keys(value: &Value) -> Vec<&str> {
        value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect()
    }

    #[test]
    fn images_are_told_as_in_their_version() {
        let row = |version| {
            let mut row = json!({"Size": 5, "Containers": -1, "RepoTags": [], "RepoDigests": []});
            image_row(&mut row, 2, v(version));
            row
        };
        assert_eq!(row(51)["Containers"], 2);
        assert_eq!(row(50)["Containers"], -1);
        assert_eq!(
            (&row(43)["VirtualSize"], row(44).get("VirtualSize")),
            (&json!(5), None)
        );
        assert_eq!(row(43)["RepoTags"], json!([]));
        assert_eq!(row(42)["RepoTags"], json!(["<none>:<none>"]));
        assert_eq!(row(42)["RepoDigests"], json!(["<none>@<none>"]));

        let whole = |version| {
            let mut value = json!({"Size": 5, "Config": {"User": ""}});
            image(&mut value, v(version));
            value
        };
        assert_eq!(keys(&whole(50)["Config"]), ["User"]);
        assert_eq!(keys(&whole(49)["Config"]).len(), 10);
        assert_eq!(whole(45).get("ContainerConfig"), None);
        // As many as dockerd has there.
        assert_eq!(keys(&whole(44)["ContainerConfig"]).len(), 17);
        assert_eq!(whole(44).get("VirtualSize"), None);
        assert_eq!(whole(43)["VirtualSize"], 5);
    }

    #[test]
    fn the_engine_is_told_as_in_its_version() {
        let told = |version| {
            let mut value = json!({"RegistryConfig": {}, "RuncCommit": {"ID": "", "Expected": ""}});
            info(&mut value, v(version));
            value
        };
        let has = |version, key: &str| told(version).get(key).is_some();
        assert!(has(41, "KernelMemory") && !has(42, "KernelMemory"));
        assert!(has(49, "BridgeNfIptables") && !has(50, "BridgeNfIptables"));
        assert!(has(49, "FirewallBackend") && !has(48, "FirewallBackend"));
        assert_eq!(told(49)["RuncCommit"], json!({"ID": ""}));
        assert_eq!(keys(&told(46)["RegistryConfig"]).len(), 2);
        assert_eq!(keys(&told(47)["RegistryConfig"]).len(), 0);
    }

    #[test]
    fn a_container_was_known_by_its_id_on_networks_of_users() {
        let told = |version| {
            let mut value = json!({
                "Id": "0123456789abcdef",
                "Config": {"Hostname": "0123456789ab"},
                "NetworkSettings": {"Networks": {
                    "bridge": {"Aliases": null},
                    "front": {"Aliases": ["web"]},
                }},
            });
            container(&mut value, v(version));
            value["NetworkSettings"]["Networks"].clone()
        };
        assert_eq!(told(45)["front"]["Aliases"], json!(["web"]));
        assert_eq!(told(44)["front"]["Aliases"], json!(["web", "0123456789ab"]));
        assert_eq!(told(44)["bridge"]["Aliases"], Value::Null);
    }
}
