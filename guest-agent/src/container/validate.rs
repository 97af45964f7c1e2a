//! What a specification may say, checked before anything is made of it.
//!
//! The messages are Docker's where Docker has one.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use wherry_proto::v1::mount::Kind;
use wherry_proto::v1::{ContainerSpec, ImageConfig, Mount, PortBinding};

use super::error::Error;
use super::health;
use super::isolation;
use super::limits;
use super::logging;
use super::policy::Policy;
use super::{mounts::parse_volumes_from, name, signal, system, tmpfs, volume};

/// The longest host name the kernel takes, bytes (HOST_NAME_MAX).
const LONGEST_HOSTNAME: usize = 64;

/// Checks everything in a specification that can be checked without the
/// image and the other containers.
///
/// # Errors
///
/// [`Error::Invalid`] for the first fault.
pub(super) fn check(spec: &ContainerSpec) -> Result<(), Error> {
    if spec.image.is_empty() {
        return invalid("no image specified");
    }
    if !spec.name.is_empty() && !name::is_valid(&spec.name) {
        return invalid(format!(
            "Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            spec.name
        ));
    }
    let texts = [&spec.working_dir, &spec.user, &spec.hostname];
    let lists = [&spec.cmd, &spec.entrypoint, &spec.env];
    if texts
        .into_iter()
        .chain(lists.into_iter().flatten())
        .any(|text| text.contains('\0'))
    {
        return invalid(
            "a zero byte in the command, the environment, the working directory, the user or the host name",
        );
    }
    if !spec.working_dir.is_empty() && !spec.working_dir.starts_with('/') {
        return invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            spec.working_dir
        ));
    }
    environment(&spec.env)?;
    hostname(&spec.hostname)?;
    hostname(&spec.domainname)?;
    if !spec.stop_signal.is_empty() {
        signal::parse(&spec.stop_signal)?;
    }
    if Policy::parse(&spec.restart_policy, spec.restart_retries)? != Policy::No && spec.auto_remove
    {
        return invalid("can't create 'AutoRemove' container with restart policy");
    }
    isolation::check(spec)?;
    logging::limits(spec.log.as_ref())?;
    if spec.annotations.keys().any(|name| name.is_empty()) {
        return invalid("invalid annotation: its name is missing");
    }
    system::check(spec)?;
    health::validate(spec.health_check.as_ref())?;
    limits::check(&spec.resources.clone().unwrap_or_default())?;
    limits::check_ulimits(&spec.ulimits)?;
    if !(-1000..=1000).contains(&spec.oom_score_adj) {
        return invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            spec.oom_score_adj
        ));
    }
    mounts(&spec.mounts)?;
    for path in [&spec.masked_paths, &spec.readonly_paths]
        .into_iter()
        .flatten()
        .flat_map(|list| &list.paths)
    {
        if !path.starts_with('/') || path.contains('\0') {
            return invalid(format!(
                "{path:?} cannot be masked or read-only: a path of the container is absolute"
            ));
        }
    }
    for wanted in &spec.volumes_from {
        parse_volumes_from(wanted)?;
    }
    for exposed in &spec.exposed_ports {
        exposed_port(exposed)?;
    }
    ports(&spec.ports)
}

/// Parses `"80/tcp"`.
fn exposed_port(text: &str) -> Result<(), Error> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = digits && number.parse::<u16>().is_ok_and(|number| number > 0);
    if is_port && matches!(protocol, "tcp" | "udp" | "sctp") {
        Ok(())
    } else {
        invalid(format!("invalid exposed port: {text:?}"))
    }
}

/// Checks `KEY=value` texts, of a container or an exec.
pub(super) fn environment(variables: &[String]) -> Result<(), Error> {
    match variables
        .iter()
        .find(|variable| variable.is_empty() || variable.starts_with('='))
    {
        Some(variable) => invalid(format!("invalid environment variable: {variable}")),
        None => Ok(()),
    }
}

fn hostname(hostname: &str) -> Result<(), Error> {
    let valid = hostname.len() <= LONGEST_HOSTNAME
        && hostname.split('.').all(|label| {
            label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        });
    if valid {
        Ok(())
    } else {
        invalid(format!("invalid hostname format: {hostname}"))
    }
}

fn mounts(mounts: &[Mount]) -> Result<(), Error> {
    let mut targets = BTreeSet::new();
    for mount in mounts {
        let kind = match mount.kind() {
            Kind::Bind => "bind",
            Kind::Volume => "volume",
            Kind::Tmpfs => "tmpfs",
            Kind::Unspecified => return invalid("mount type unknown"),
        };
        let wrong =
            |what: &str| invalid(format!("invalid mount config for type \"{kind}\": {what}"));
        let target = Path::new(&mount.target);
        if !target.is_absolute() {
            return wrong(&format!(
                "invalid mount path: '{}' mount path must be absolute",
                mount.target
            ));
        }
        if target.components().any(|part| part == Component::ParentDir)
            || mount.target.contains('\0')
        {
            return wrong(&format!("invalid mount path: '{}'", mount.target));
        }
        let target: std::path::PathBuf = target.components().collect();
        if target == Path::new("/") {
            return wrong("invalid specification: destination can't be '/'");
        }
        if !targets.insert(target) {
            return invalid(format!("Duplicate mount point: {}", mount.target));
        }
        match mount.kind() {
            // Its source is the agent's own.
            Kind::Bind if mount.engine_socket => {}
            Kind::Bind if !mount.source.starts_with('/') => {
                return wrong(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                ));
            }
            Kind::Volume if !mount.source.is_empty() => volume::check_name(&mount.source)?,
            Kind::Tmpfs => drop(tmpfs::parse(&mount.tmpfs_options)?),
            _ => {}
        }
    }
    Ok(())
}

/// Checks port bindings, as asked for or as bound.
pub(super) fn ports(ports: &[PortBinding]) -> Result<(), Error> {
    for port in ports {
        if !(1..=65535).contains(&port.container_port) {
            return invalid(format!("invalid container port: {}", port.container_port));
        }
        if port.host_port > 65535 {
            return invalid(format!("invalid host port: {}", port.host_port));
        }
        let last = port.host_port_last;
        if last > 65535 || last != 0 && last < port.host_port.max(1) {
            return invalid(format!("invalid range of host ports, to {last}"));
        }
        if !matches!(port.protocol.as_str(), "" | "tcp" | "udp") {
            return invalid(format!(
                "invalid protocol: {}, only tcp and udp are published",
                port.protocol
            ));
        }
    }
    Ok(())
}

/// Returns the command line: the container's over the image's.
///
/// An entrypoint given with the container also drops the image's command.
///
/// # Errors
///
/// [`Error::Invalid`] when nothing is left to run.
pub(super) fn command_line(
    spec: &ContainerSpec,
    image: &ImageConfig,
) -> Result<Vec<String>, Error> {
    let overridden = spec.clear_entrypoint || !spec.entrypoint.is_empty();
    let entrypoint = if overridden {
        &spec.entrypoint
    } else {
        &image.entrypoint
    };
    let command = if spec.cmd.is_empty() && !overridden {
        &image.cmd
    } else {
        &spec.cmd
    };
    let args: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
    match args.first() {
        None => invalid("no command specified"),
        // `--entrypoint ""` reaches some clients' wire as one empty word.
        Some(program) if program.is_empty() && args.len() == 1 => invalid("no command specified"),
        Some(_) => Ok(args),
    }
}

/// Returns the environment: the image's and the container's, later ones in
/// place of earlier ones. A name without a value takes the variable away.
pub(super) fn merged_environment(spec: &ContainerSpec, image: &ImageConfig) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    for variable in image.env.iter().chain(&spec.env) {
        let name = variable.split('=').next().unwrap_or_default();
        let same = |known: &String| known.split('=').next() == Some(name);
        let place = merged.iter().position(same);
        match (place, variable.contains('=')) {
            (Some(place), true) => merged[place].clone_from(variable),
            (Some(place), false) => {
                merged.remove(place);
            }
            (None, true) => merged.push(variable.clone()),
            (None, false) => {}
        }
    }
    merged
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::Resources;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            image: "busybox".to_owned(),
            ..Default::default()
        }
    }

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["default".to_owned()],
            env: vec!["A=1".to_owned(), "B=2".to_owned()],
            ..Default::default()
        }
    }

    fn fault(spec: &ContainerSpec) -> String {
        check(spec).unwrap_err().to_string()
    }

    #[test]
    fn a_plain_specification_is_fine() {
        check(&spec()).unwrap();
    }

    #[test]
    fn a_memory_limit_of_one_byte_is_refused() {
        let resources = Some(Resources {
            memory: 1,
            ..Default::default()
        });
        assert_eq!(
            fault(&ContainerSpec {
                resources,
                ..spec()
            }),
            "Minimum memory limit allowed is 6MB"
        );
    }

    #[test]
    fn names_environment_and_directories_are_checked() {
        assert!(
            fault(&ContainerSpec {
                name: "a/b".to_owned(),
                ..spec()
            })
            .contains("Invalid container name (a/b)")
        );
        assert!(
            fault(&ContainerSpec {
                env: vec!["=x".to_owned()],
                ..spec()
            })
            .contains("invalid environment variable")
        );
        assert!(
            fault(&ContainerSpec {
                working_dir: "x".to_owned(),
                ..spec()
            })
            .contains("absolute path")
        );
        assert!(
            fault(&ContainerSpec {
                hostname: "a b".to_owned(),
                ..spec()
            })
            .contains("invalid hostname")
        );
        assert!(
            fault(&ContainerSpec {
                stop_signal: "NOPE".to_owned(),
                ..spec()
            })
            .contains("invalid signal")
        );
    }

    #[test]
    fn mounts_that_make_no_sense_are_refused() {
        let mount = |kind: Kind, source: &str, target: &str| Mount {
            kind: kind.into(),
            source: source.to_owned(),
            target: target.to_owned(),
            ..Default::default()
        };
        let fault = |mounts: Vec<Mount>| fault(&ContainerSpec { mounts, ..spec() });
        assert!(fault(vec![mount(Kind::Bind, "/a", "b")]).contains("must be absolute"));
        assert!(fault(vec![mount(Kind::Bind, "a", "/b")]).contains("must be absolute"));
        assert!(fault(vec![mount(Kind::Bind, "/a", "/")]).contains("destination can't be '/'"));
        assert!(fault(vec![mount(Kind::Bind, "/a", "/x/../../y")]).contains("invalid mount path"));
        assert!(fault(vec![mount(Kind::Volume, "a/b", "/b")]).contains("invalid characters"));
        let twice = vec![mount(Kind::Tmpfs, "", "/b"), mount(Kind::Tmpfs, "", "/b/")];
        assert!(fault(twice).contains("Duplicate mount point"));
    }

    #[test]
    fn an_entrypoint_drops_the_images_command() {
        let args = |spec: ContainerSpec| command_line(&spec, &image()).unwrap();
        assert_eq!(args(spec()), ["/entry", "default"]);
        assert_eq!(
            args(ContainerSpec {
                cmd: vec!["x".to_owned()],
                ..spec()
            }),
            ["/entry", "x"]
        );
        assert_eq!(
            args(ContainerSpec {
                entrypoint: vec!["/e".to_owned()],
                ..spec()
            }),
            ["/e"]
        );
        let cleared = ContainerSpec {
            clear_entrypoint: true,
            ..spec()
        };
        assert!(command_line(&cleared, &image()).is_err());
        assert_eq!(
            args(ContainerSpec {
                cmd: vec!["sh".to_owned()],
                ..cleared
            }),
            ["sh"]
        );
    }

    #[test]
    fn later_variables_replace_and_bare_names_remove() {
        let env = vec!["A=9".to_owned(), "B".to_owned(), "C=".to_owned()];
        let merged = merged_environment(&ContainerSpec { env, ..spec() }, &image());
        assert_eq!(merged, ["A=9", "C="]);
    }
}
