//! Making an image of a container.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use wherry_proto::v1::ImageConfig;

use super::changes::walk;
use crate::container::error::Error;
use crate::container::record::{Record, Status};
use crate::container::{Containers, blocking, to_the_end};
use crate::image::{ImageRecord, NewLayer, OverlayMount, Packer};

/// How a container becomes an image.
pub(crate) struct CommitOptions {
    /// The image's name; empty for none.
    pub(crate) name: String,
    pub(crate) author: String,
    /// A comment for the image's history.
    pub(crate) message: String,
    /// Dockerfile instructions: `CMD ["nginx"]`, `ENV A=b`.
    pub(crate) changes: Vec<String>,
    /// What the client sets of the image's configuration.
    pub(crate) config: Option<ImageConfig>,
    /// Hold its processes meanwhile.
    pub(crate) pause: bool,
}

impl Containers {
    /// Makes an image of a container's image and what the container has changed.
    ///
    /// # Errors
    ///
    /// [`Error::Image`] for a name or a change that is none, those of packing.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        reference: &str,
        options: CommitOptions,
    ) -> Result<ImageRecord, Error> {
        let container = self.find(reference)?;
        let containers = self.clone();
        to_the_end(async move {
            let _turn = container.turn.clone().lock_owned().await;
            let record = container.record();
            let running = record.state.status == Status::Running && !record.state.paused;
            let hold = match options.pause && running {
                true => match containers.freeze(&container, true).await {
                    Ok(()) => true,
                    // It has just ended, and holds still by itself.
                    Err(Error::State(_)) => false,
                    Err(error) => return Err(error),
                },
                false => false,
            };
            let this = containers.clone();
            let directory = container.paths.directory.clone();
            let made = blocking(move || {
                let overlay = this.images.prepare_root(&record.image_id, &directory)?;
                this.commit_layer(&record, &overlay, &options)
            })
            .await;
            if hold && let Err(error) = containers.freeze(&container, false).await {
                // It may have been killed meanwhile.
                tracing::warn!("container {} stays paused: {error}", container.id);
            }
            let image = made?;
            containers.publish(&container, "commit", &[("imageID", image.id())]);
            Ok(image)
        })
        .await
    }

    fn commit_layer(
        &self,
        record: &Record,
        overlay: &OverlayMount,
        options: &CommitOptions,
    ) -> Result<ImageRecord, Error> {
        let changes = walk(record, &overlay.upper, &overlay.lower)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let upper = rustix::fs::openat(CWD, &overlay.upper, flags, Mode::empty())
            .map_err(|error| Error::path("opening", &overlay.upper, error))?;
        let (reader, writer) =
            std::io::pipe().map_err(|error| Error::io("making a pipe", error))?;
        std::thread::scope(|scope| {
            let packing = scope.spawn(|| {
                let made = &changes.made;
                let leave_out = |name: &[u8], _: &OwnedFd| made.contains(name);
                let mut packer = Packer::layer(writer, &leave_out);
                packer.add_content(&upper, b"")?;
                packer.finish().map(drop)
            });
            let layer = NewLayer {
                base: &record.image_id,
                name: &options.name,
                author: &options.author,
                message: &options.message,
                created_by: record.args.join(" "),
                config: match &options.config {
                    Some(given) => merged(config(record), given),
                    None => config(record),
                },
                changes: &options.changes,
            };
            // Waits for the packing first: a layer cut short must not become one.
            let image = self.images.add_layer(layer, reader, || {
                packing
                    .join()
                    .unwrap_or_else(|_| Err(std::io::Error::other("packing has failed")))
            })?;
            Ok(image)
        })
    }
}

/// Returns a configuration with what a client sets of it (moby,
/// daemon/commit.go, `merge`).
fn merged(mut config: ImageConfig, given: &ImageConfig) -> ImageConfig {
    let key = |pair: &str| pair.split('=').next().map(str::to_owned);
    let others = config.env.into_iter().filter(|old| {
        let mut given = given.env.iter();
        given.all(|pair| key(pair) != key(old))
    });
    config.env = given.env.iter().cloned().chain(others).collect();
    if !given.entrypoint.is_empty() {
        config.entrypoint.clone_from(&given.entrypoint);
        config.cmd.clone_from(&given.cmd);
    } else if !given.cmd.is_empty() {
        config.cmd.clone_from(&given.cmd);
    }
    for (value, own) in [
        (&mut config.user, &given.user),
        (&mut config.working_dir, &given.working_dir),
        (&mut config.stop_signal, &given.stop_signal),
    ] {
        if !own.is_empty() {
            value.clone_from(own);
        }
    }
    config.labels.extend(given.labels.clone());
    for (list, more) in [
        (&mut config.exposed_ports, &given.exposed_ports),
        (&mut config.volumes, &given.volumes),
    ] {
        for item in more {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
    }
    if given.health_check.is_some() {
        config.health_check.clone_from(&given.health_check);
    }
    config
}

/// What the image is to say about running it: as the container was run.
fn config(record: &Record) -> ImageConfig {
    let (spec, mut config) = (&record.spec, record.image_config.clone());
    for pair in &spec.env {
        let key = pair.split('=').next().unwrap_or_default();
        config.env.retain(|old| old.split('=').next() != Some(key));
        config.env.push(pair.clone());
    }
    if !spec.entrypoint.is_empty() || spec.clear_entrypoint {
        config.entrypoint.clone_from(&spec.entrypoint);
        config.cmd.clear();
    }
    if !spec.cmd.is_empty() {
        config.cmd.clone_from(&spec.cmd);
    }
    for (value, own) in [
        (&mut config.user, &spec.user),
        (&mut config.working_dir, &spec.working_dir),
        (&mut config.stop_signal, &spec.stop_signal),
    ] {
        if !own.is_empty() {
            value.clone_from(own);
        }
    }
    config.labels.extend(spec.labels.clone());
    let published = spec
        .ports
        .iter()
        .map(|port| format!("{}/{}", port.container_port, port.protocol));
    for port in spec.exposed_ports.iter().cloned().chain(published) {
        if !config.exposed_ports.contains(&port) {
            config.exposed_ports.push(port);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_a_client_sets_counts_and_the_rest_stays() {
        let own = ImageConfig {
            user: "me".to_owned(),
            env: words("A=1 B=2"),
            entrypoint: words("/init"),
            cmd: words("serve"),
            exposed_ports: words("80/tcp"),
            ..ImageConfig::default()
        };
        let given = ImageConfig {
            env: words("B=3"),
            cmd: words("other"),
            working_dir: "/srv".to_owned(),
            exposed_ports: words("80/tcp 90/tcp"),
            ..ImageConfig::default()
        };
        let config = merged(own.clone(), &given);
        assert_eq!(config.env, words("B=3 A=1"));
        assert_eq!(
            (config.entrypoint, config.cmd),
            (words("/init"), words("other"))
        );
        assert_eq!((&*config.user, &*config.working_dir), ("me", "/srv"));
        assert_eq!(config.exposed_ports, words("80/tcp 90/tcp"));
        // A new entrypoint does not get the old one's arguments.
        let given = ImageConfig {
            entrypoint: words("sh"),
            ..ImageConfig::default()
        };
        let config = merged(own, &given);
        assert_eq!((config.entrypoint, config.cmd), (words("sh"), Vec::new()));
    }
}
