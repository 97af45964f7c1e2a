//! A container as it goes over the wire.

use std::path::Path;

use wherry_proto::v1;
use wherry_proto::v1::mount::Kind;

use super::health;
use super::mount::{MountSource, ResolvedMount};
use super::record::{Status, timestamp};
use super::{Container, Containers, chain, logging};
use crate::image::Dependent;

impl Containers {
    /// Returns every container, or the running ones, the newest first.
    pub(crate) fn list(&self, all: bool) -> Vec<v1::Container> {
        let mut containers: Vec<_> = self
            .all()
            .iter()
            .filter(|container| all || container.cell().record.state.is_live())
            .map(|container| container.describe())
            .collect();
        containers.sort_by_key(|container| {
            let created = container.created.unwrap_or_default();
            std::cmp::Reverse((created.seconds, created.nanos))
        });
        containers
    }
}

impl Containers {
    /// Returns the containers made from an image.
    pub(crate) fn of_image(&self, image: &str) -> Vec<Dependent> {
        let all = self.all();
        let of_image = all
            .iter()
            .filter(|container| container.cell().record.image_id == image);
        of_image
            .map(|container| Dependent {
                container: container.name(),
                running: container.cell().record.state.is_live(),
            })
            .collect()
    }

    /// Lets the images go that were removed while only containers that did not
    /// run were made of them. Blocks.
    pub(super) fn release_images(&self) {
        if let Err(error) = self.images.release(&|image| self.of_image(image)) {
            tracing::error!("cannot delete a removed image: {}", chain(&error));
        }
    }

    /// Returns the network of all containers.
    pub(crate) fn network(&self) -> &crate::network::Network {
        &self.network
    }
}

impl Container {
    /// Describes it as it is now.
    pub(crate) fn describe(&self) -> v1::Container {
        let record = self.record();
        let health = self.cell().health.as_ref().map(health::Health::describe);
        let state = record.state;
        let status = match state.status {
            Status::Created => v1::container::Status::Created,
            Status::Running if state.paused => v1::container::Status::Paused,
            Status::Running => v1::container::Status::Running,
            Status::Restarting => v1::container::Status::Restarting,
            Status::Exited => v1::container::Status::Exited,
            Status::Removing => v1::container::Status::Dead,
        };
        let shim_resident = match state.shim_pid {
            0 => 0,
            pid => crate::serve::resident(&pid.to_string()),
        };
        let mounts = record
            .mounts
            .iter()
            .map(|mount| mount_point(mount, &self.paths.volumes))
            .collect();
        let log_path = if logging::keeps(record.spec.log.as_ref()) {
            self.paths.log().display().to_string()
        } else {
            String::new()
        };
        v1::Container {
            id: record.id,
            name: record.name,
            spec: Some(record.spec),
            image_id: record.image_id,
            status: status.into(),
            exit_code: state.exit_code,
            oom_killed: state.oom_killed,
            error: state.error,
            pid: state.pid,
            created: timestamp(record.created),
            started: timestamp(state.started),
            finished: timestamp(state.finished),
            ip_address: state.address.ip,
            gateway: state.address.gateway,
            mac_address: state.address.mac,
            prefix_length: state.address.prefix_length,
            ports: state.ports,
            args: record.args,
            log_path,
            shim_pid: state.shim_pid,
            shim_resident,
            image_config: Some(record.image_config),
            mounts,
            restart_count: state.restart_count,
            health,
            endpoints: state.endpoints,
            // Whoever asks for one container is told.
            execs: Vec::new(),
        }
    }
}

fn mount_point(mount: &ResolvedMount, volumes: &Path) -> v1::MountPoint {
    let (kind, name, source) = match &mount.source {
        MountSource::Bind { host, path } if host.is_empty() => {
            (Kind::Bind, "", path.display().to_string())
        }
        MountSource::Bind { host, .. } | MountSource::EngineSocket { host } => {
            (Kind::Bind, "", host.clone())
        }
        MountSource::Volume { name, .. } => {
            let data = volumes.join(name).join("_data");
            (Kind::Volume, name.as_str(), data.display().to_string())
        }
        MountSource::Tmpfs => (Kind::Tmpfs, "", String::new()),
    };
    v1::MountPoint {
        kind: kind.into(),
        name: name.to_owned(),
        source,
        target: mount.target.clone(),
        read_only: mount.read_only,
    }
}
