//! What a container shares with the machine and with other containers.

use std::collections::HashMap;
use std::path::Path;

use wherry_client::size;
use wherry_proto::v1::{ContainerSpec, Device};

use crate::failure::Failure;

/// Namespaces, kernel settings, devices and the first process.
#[derive(clap::Args, Debug)]
pub(crate) struct IsolationOptions {
    /// The process namespace: host is the machine's, container:NAME another container's
    #[arg(long, value_name = "NAMESPACE", value_parser = parse_shared)]
    pid: Option<String>,

    /// The IPC namespace: private, shareable, none, host or container:NAME
    #[arg(long, value_name = "NAMESPACE", value_parser = parse_ipc)]
    ipc: Option<String>,

    /// The UTS namespace: host has the machine's host name
    #[arg(long, value_name = "NAMESPACE", value_parser = ["host"])]
    uts: Option<String>,

    /// The user namespace: host, which every container has
    #[arg(long, value_name = "NAMESPACE", value_parser = parse_userns)]
    userns: Option<String>,

    /// The cgroup namespace: private, or host for the machine's
    #[arg(long, value_name = "NAMESPACE", value_parser = ["host", "private"])]
    cgroupns: Option<String>,

    /// Devices that the container may make and use, such as 'c 10:200 rwm'
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,

    /// Add an annotation to the runtime's specification
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_annotation)]
    annotation: Vec<(String, String)>,

    /// Set a kernel setting of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_sysctl)]
    sysctl: Vec<(String, String)>,

    /// Give the container a device of the machine
    #[arg(long, value_name = "DEVICE[:PATH][:rwm]", value_parser = parse_device)]
    device: Vec<Device>,

    /// Add the user to a group, by name or number
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,

    /// The size of /dev/shm, by default 64m
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    shm_size: Option<u64>,

    /// Run an init in the container that passes signals on and reaps processes
    #[arg(long)]
    init: bool,

    /// Whether the command is the init of a whole system, such as systemd: always,
    /// never, or auto to tell by its name
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always", value_parser = ["auto", "always", "never"])]
    init_system: Option<String>,

    /// A security option: no-new-privileges, seccomp=unconfined or seccomp=FILE
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
}

impl IsolationOptions {
    /// Adds them to what the engine is asked for. Reads the files that they name.
    pub(crate) fn add_to(&self, spec: &mut ContainerSpec) -> Result<(), Failure> {
        let text = |option: &Option<String>| option.clone().unwrap_or_default();
        spec.pid_mode = text(&self.pid);
        spec.ipc_mode = text(&self.ipc);
        spec.uts_mode = text(&self.uts);
        spec.cgroupns_mode = text(&self.cgroupns);
        spec.device_cgroup_rules
            .clone_from(&self.device_cgroup_rule);
        spec.annotations = self.annotation.iter().cloned().collect();
        spec.sysctls = self.sysctl.iter().cloned().collect::<HashMap<_, _>>();
        spec.devices.clone_from(&self.device);
        spec.group_add.clone_from(&self.group_add);
        spec.shm_size = self.shm_size.unwrap_or(0);
        spec.init = self.init;
        spec.init_system = match self.init_system.as_deref() {
            None | Some("auto") => String::new(),
            Some(when) => when.to_owned(),
        };
        spec.security_opt = self
            .security_opt
            .iter()
            .map(|option| security_option(option))
            .collect::<Result<_, _>>()?;
        Ok(())
    }
}

/// Puts a seccomp profile in the place of the file that has it: the machine
/// does not see the host's files.
fn security_option(option: &str) -> Result<String, Failure> {
    let file = option
        .strip_prefix("seccomp=")
        .filter(|value| !matches!(*value, "unconfined" | "builtin" | "default"));
    let Some(file) = file else {
        return Ok(option.to_owned());
    };
    let wrong =
        |why: String| Failure::new(format!("opening seccomp profile ({file}) failed: {why}"));
    let profile =
        std::fs::read_to_string(Path::new(file)).map_err(|error| wrong(error.to_string()))?;
    let profile: serde_json::Value =
        serde_json::from_str(&profile).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
    Ok(format!("seccomp={profile}"))
}

fn parse_shared(text: &str) -> Result<String, String> {
    let other = text.strip_prefix("container:");
    if text == "host" || other.is_some_and(|name| !name.is_empty()) {
        return Ok(text.to_owned());
    }
    Err("write host or container:NAME".to_owned())
}

fn parse_ipc(text: &str) -> Result<String, String> {
    match text {
        "private" | "shareable" | "none" => Ok(text.to_owned()),
        _ => parse_shared(text)
            .map_err(|_| "write private, shareable, none, host or container:NAME".to_owned()),
    }
}

/// Every container has the machine's user namespace, which a virtual machine
/// keeps apart from the host's users.
fn parse_userns(text: &str) -> Result<String, String> {
    match text {
        "host" => Ok(text.to_owned()),
        _ => Err(
            "user namespaces are not remapped: the machine itself keeps containers from the host's users; leave it out, or write host"
                .to_owned(),
        ),
    }
}

fn parse_annotation(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() {
        return Err("the annotation's name is missing: write NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_sysctl(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as net.ipv4.ip_forward=1".to_owned()),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    match size::parse(text) {
        Ok(0) => Err("it must be more than nothing".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_device(text: &str) -> Result<Device, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let permissions =
        |part: &str| !part.is_empty() && part.chars().all(|letter| "rwm".contains(letter));
    let (target, rights) = match parts[1..] {
        [] => ("", ""),
        [rights] if permissions(rights) => ("", rights),
        [target] => (target, ""),
        [target, rights] if permissions(rights) => (target, rights),
        _ => ("no", ""),
    };
    if !parts[0].starts_with('/') || !(target.is_empty() || target.starts_with('/')) {
        return Err(
            "write DEVICE[:PATH][:rwm], such as /dev/fuse or /dev/vdb:/dev/xvda:r".to_owned(),
        );
    }
    Ok(Device {
        path: parts[0].to_owned(),
        target: target.to_owned(),
        permissions: rights.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_have_another_path_and_rights() {
        let device = |text: &str| {
            let device = parse_device(text).unwrap();
            [device.path, device.target, device.permissions].join("|")
        };
        assert_eq!(device("/dev/fuse"), "/dev/fuse||");
        assert_eq!(device("/dev/fuse:r"), "/dev/fuse||r");
        assert_eq!(device("/dev/a:/dev/b"), "/dev/a|/dev/b|");
        assert_eq!(device("/dev/a:/dev/b:rw"), "/dev/a|/dev/b|rw");
        for text in ["", "fuse", "/dev/a:b", "/dev/a:/dev/b:x", "/a:/b:r:w"] {
            assert!(parse_device(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_seccomp_profile_is_read_here() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile.json");
        std::fs::write(&file, "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }").unwrap();
        let option = format!("seccomp={}", file.display());
        assert_eq!(
            security_option(&option).ok().unwrap(),
            "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"
        );
        for same in ["seccomp=unconfined", "no-new-privileges"] {
            assert_eq!(security_option(same).ok().unwrap(), same);
        }
        std::fs::write(&file, "{").unwrap();
        assert!(security_option(&option).is_err());
        assert!(security_option("seccomp=/nope").is_err());
    }
}
