//! Making a container: checked, recorded, not yet running.

use std::fs;
use std::sync::Arc;

use wherry_proto::v1::{ContainerSpec, ImageConfig};

use super::error::Error;
use super::record::Record;
use super::{Container, Containers, blocking, chain, limits, name, root, to_the_end, validate};
use crate::image;
use crate::network::{Attachment, NetworkMode, ResolverOptions, hosts, resolv_conf};

impl Containers {
    /// Makes a container. Returns its id and what the user should know.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the specification; nothing is left then.
    pub(crate) async fn create(
        self: &Arc<Self>,
        spec: ContainerSpec,
    ) -> Result<(String, Vec<String>), Error> {
        let begun = std::time::Instant::now();
        let containers = self.clone();
        let made = to_the_end(blocking(move || containers.create_now(spec))).await;
        if let Ok((id, _)) = &made {
            let made_us = begun.elapsed().as_micros();
            tracing::debug!(container = id, made_us, "created");
        }
        made
    }

    fn create_now(&self, mut spec: ContainerSpec) -> Result<(String, Vec<String>), Error> {
        validate::check(&spec)?;
        for port in &mut spec.ports {
            if port.protocol.is_empty() {
                port.protocol = "tcp".to_owned();
            }
        }
        let mode = self.network_mode(&spec)?;
        if let NetworkMode::Container(target) = &mode {
            // By id, which stays when the name changes.
            spec.network = format!("container:{target}");
        }
        self.resolve_networks(&mut spec, &mode)?;
        self.resolve_modes(&mut spec)?;
        check_names(&spec)?;
        let mut warnings =
            limits::warnings(&self.weights, &spec.resources.clone().unwrap_or_default());
        if mode != NetworkMode::Bridge && (!spec.ports.is_empty() || spec.publish_all) {
            let network = &spec.network;
            warnings.push(format!(
                "Published ports are discarded when using {network} network mode"
            ));
            spec.ports.clear();
            spec.publish_all = false;
        }
        let id = name::new_id().map_err(|error| Error::io("making up an id", error))?;
        let name = self.registry().take_name(&spec.name, &id)?;
        spec.name.clone_from(&name);
        let mut record = Record::new(id.clone(), name.clone(), spec);
        let mut made_volumes = Vec::new();
        let made = self.build(&mut record, &mut made_volumes);
        match made {
            Ok(container) => {
                self.publish(&container, "create", &[]);
                Ok((id, warnings))
            }
            Err(error) => {
                // Nothing of it may stay.
                let mut registry = self.registry();
                registry.remove(&id);
                registry.free_name(&name, &id);
                drop(registry);
                let _ = fs::remove_dir_all(self.paths(&id).directory);
                let turn = self.volumes.turn();
                for volume in made_volumes {
                    let _ = self.remove_unused_volume(&turn, &volume, &id);
                }
                Err(error)
            }
        }
    }

    fn build(
        &self,
        record: &mut Record,
        made_volumes: &mut Vec<String>,
    ) -> Result<Arc<Container>, Error> {
        let image = self.find_image(&record.spec.image)?;
        record.image_id = image.id();
        record.image_config = image_config(&image);
        record.args = validate::command_line(&record.spec, &record.image_config)?;
        if record.spec.init {
            record.args.splice(0..0, root::INIT.map(str::to_owned));
        }
        record.hostname = match record.spec.hostname.as_str() {
            "" => record.id[..12].to_owned(),
            hostname => hostname.to_owned(),
        };
        self.check_runtime(record)?;
        let turn = self.volumes.turn();
        self.resolve_mounts(record, &turn, made_volumes)?;
        let paths = self.paths(&record.id);
        let directory = &paths.directory;
        fs::create_dir_all(directory).map_err(|error| Error::path("making", directory, error))?;
        let container = Container::new(record.clone(), paths);
        // Registered before its root is made, so that the image cannot go in between.
        self.registry().insert(container.clone());
        drop(turn);
        self.images
            .prepare_root(&record.image_id, &container.paths.directory)?;
        // Written last: a directory without a record is debris, and is cleared away.
        record.save(&container.paths.directory)?;
        Ok(container)
    }

    fn find_image(&self, reference: &str) -> Result<image::ImageRecord, Error> {
        self.images.inspect(reference).map_err(|error| match error {
            image::Error::NotFound(_) => {
                let tagged = reference
                    .rsplit('/')
                    .next()
                    .is_some_and(|last| last.contains([':', '@']));
                let tag = if tagged { "" } else { ":latest" };
                Error::NoSuchImage(format!("{reference}{tag}"))
            }
            error => Error::Image(error),
        })
    }
}

/// Checks names and addresses that go into the container's files at start.
fn check_names(spec: &ContainerSpec) -> Result<(), Error> {
    let none = Attachment::none(std::net::Ipv4Addr::LOCALHOST);
    let resolver = ResolverOptions {
        servers: &spec.dns,
        ..ResolverOptions::default()
    };
    let line = |text: &&String| text.chars().any(|c| c.is_control() || c == ' ');
    if let Some(text) = spec.dns_search.iter().chain(&spec.dns_options).find(line) {
        return Err(Error::Invalid(format!(
            "{text:?} is no search domain or option of a resolver"
        )));
    }
    hosts(&none, "", &spec.extra_hosts)
        .and_then(|_| resolv_conf(&none, resolver))
        .map_err(|error| Error::Invalid(chain(&error)))?;
    Ok(())
}

fn image_config(image: &image::ImageRecord) -> ImageConfig {
    let config = &image.config;
    ImageConfig {
        user: config.user.clone(),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone().into_iter().collect(),
        exposed_ports: config.exposed_ports.clone(),
        volumes: config.volumes.clone(),
        stop_signal: config.stop_signal.clone(),
        health_check: config.healthcheck.as_ref().map(Into::into),
    }
}
