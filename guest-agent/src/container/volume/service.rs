//! Volumes as the user asks for them, with regard to the containers that have
//! them. The messages are Docker's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wherry_proto::v1;

use super::backing::describe;
use super::{ANONYMOUS, Turn, VolumeRecord, delete, directory_size};
use crate::container::error::Error;
use crate::container::mount::MountSource;
use crate::container::record::timestamp;
use crate::container::{Container, Containers, blocking, name};

impl Containers {
    /// Makes a volume, anonymous where the name is empty. Returns the one that
    /// is there where there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that no volume may have.
    pub(crate) async fn create_volume(
        self: &Arc<Self>,
        request: v1::CreateVolumeRequest,
    ) -> Result<v1::Volume, Error> {
        let containers = self.clone();
        blocking(move || {
            let mut labels: BTreeMap<_, _> = request.labels.into_iter().collect();
            let name = match request.name.as_str() {
                "" => {
                    labels.insert(ANONYMOUS.to_owned(), String::new());
                    new_name()?
                }
                name => name.to_owned(),
            };
            check_name(&name)?;
            let options = request.options.into_iter().collect();
            let record = VolumeRecord::new(&name, labels);
            let record = describe(record, options, &request.bind_source)?;
            let turn = containers.volumes.turn();
            let made = containers.volumes.make(&turn, &record, true)?;
            let volume = containers.volumes.find(&name)?;
            drop(turn);
            if made {
                containers.publish_volume(&name, "create");
            }
            Ok(containers.describe_volume(volume, &containers.volume_users(), false))
        })
        .await
    }

    /// Returns every volume, with the size of each where asked.
    ///
    /// # Errors
    ///
    /// When the directory of volumes cannot be read.
    pub(crate) async fn list_volumes(
        self: &Arc<Self>,
        sizes: bool,
    ) -> Result<Vec<v1::Volume>, Error> {
        let containers = self.clone();
        blocking(move || {
            let users = containers.volume_users();
            let volumes = containers.volumes.all()?.into_iter();
            Ok(volumes
                .map(|volume| containers.describe_volume(volume, &users, sizes))
                .collect())
        })
        .await
    }

    /// Finds a volume by its name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchVolume`].
    pub(crate) async fn inspect_volume(
        self: &Arc<Self>,
        name: String,
    ) -> Result<v1::Volume, Error> {
        let containers = self.clone();
        blocking(move || {
            let volume = containers.volumes.find(&name)?;
            Ok(containers.describe_volume(volume, &containers.volume_users(), false))
        })
        .await
    }

    /// Removes a volume; with `force` it is no fault that there is none.
    ///
    /// # Errors
    ///
    /// [`Error::State`] while containers have it, [`Error::NoSuchVolume`].
    pub(crate) async fn remove_volume(
        self: &Arc<Self>,
        name: String,
        force: bool,
    ) -> Result<(), Error> {
        let containers = self.clone();
        blocking(move || {
            let turn = containers.volumes.turn();
            match containers.volumes.find(&name) {
                Err(Error::NoSuchVolume(_)) if force => return Ok(()),
                found => found?,
            };
            if let Some(users) = containers.volume_users().get(&name) {
                return Err(Error::State(format!(
                    "remove {name}: volume is in use - [{}]",
                    users.join(", ")
                )));
            }
            let gone = containers.volumes.remove(&turn, &name)?;
            drop(turn);
            containers.volumes.sync()?;
            if let Some(gone) = gone {
                delete(&gone);
            }
            containers.publish_volume(&name, "destroy");
            Ok(())
        })
        .await
    }

    /// Removes the volumes that no container has, and returns their names and
    /// the bytes of their files.
    ///
    /// # Errors
    ///
    /// The first failure; those removed until then are gone.
    pub(crate) async fn prune_volumes(
        self: &Arc<Self>,
        request: v1::PruneVolumesRequest,
    ) -> Result<v1::PruneVolumesResponse, Error> {
        let containers = self.clone();
        blocking(move || {
            let mut response = v1::PruneVolumesResponse::default();
            for volume in containers.volumes.all()? {
                let wanted = (request.all || volume.is_anonymous())
                    && request.labels.iter().all(|label| has(&volume, label))
                    && !request
                        .without_labels
                        .iter()
                        .any(|label| has(&volume, label));
                let turn = containers.volumes.turn();
                if !wanted || containers.volume_users().contains_key(&volume.name) {
                    continue;
                }
                let gone = containers.volumes.remove(&turn, &volume.name)?;
                drop(turn);
                if let Some(gone) = gone {
                    response.reclaimed += directory_size(&gone.join("_data"));
                    delete(&gone);
                    containers.publish_volume(&volume.name, "destroy");
                    response.removed.push(volume.name.clone());
                }
            }
            Ok(response)
        })
        .await
    }

    /// Takes a volume out of sight unless a container other than `except` has
    /// it.
    pub(in crate::container) fn remove_unused_volume(
        &self,
        turn: &Turn<'_>,
        name: &str,
        except: &str,
    ) -> Result<(), Error> {
        let users = self.volume_users();
        let used = users
            .get(name)
            .is_some_and(|users| users.iter().any(|user| user != except));
        if used {
            return Ok(());
        }
        if let Some(gone) = self.volumes.remove(turn, name)? {
            // What is in it can be much: nobody waits for that to be deleted.
            std::thread::Builder::new()
                .name("delete".to_owned())
                .stack_size(256 * 1024)
                .spawn({
                    let gone = gone.clone();
                    move || delete(&gone)
                })
                .map(drop)
                .unwrap_or_else(|_| delete(&gone));
            self.publish_volume(name, "destroy");
        }
        Ok(())
    }

    /// Returns the ids of the containers that have each volume, by its name.
    fn volume_users(&self) -> HashMap<String, Vec<String>> {
        let mut users: HashMap<String, Vec<String>> = HashMap::new();
        for container in self.all() {
            for mount in &container.cell().record.mounts {
                if let MountSource::Volume { name, .. } = &mount.source {
                    let users = users.entry(name.clone()).or_default();
                    if !users.contains(&container.id) {
                        users.push(container.id.clone());
                    }
                }
            }
        }
        users
    }

    fn describe_volume(
        &self,
        volume: VolumeRecord,
        users: &HashMap<String, Vec<String>>,
        size: bool,
    ) -> v1::Volume {
        let data = self.volumes.data(&volume.name);
        v1::Volume {
            mountpoint: data.display().to_string(),
            containers: users.get(&volume.name).cloned().unwrap_or_default(),
            size: size.then(|| directory_size(&data)),
            labels: volume.labels.into_iter().collect(),
            created: timestamp(volume.created),
            options: volume.options.into_iter().collect(),
            name: volume.name,
        }
    }

    /// Tells of the volumes that a container has mounted with its start, or has left
    /// with its end.
    pub(in crate::container) fn publish_mounts(&self, container: &Container, action: &str) {
        let mounts = container.cell().record.mounts.clone();
        for mount in &mounts {
            let MountSource::Volume { name, .. } = &mount.source else {
                continue;
            };
            let place = [
                ("destination", mount.target.clone()),
                ("propagation", String::new()),
                ("read/write", (!mount.read_only).to_string()),
            ];
            let place = place.into_iter().filter(|_| action == "mount");
            let attributes = [
                ("container", container.id.clone()),
                ("driver", "local".to_owned()),
            ];
            let attributes = attributes.into_iter().chain(place);
            self.events
                .publish("volume", action, name.as_str(), attributes);
        }
    }

    pub(in crate::container) fn publish_volume(&self, name: &str, action: &str) {
        let driver = ("driver", "local".to_owned());
        self.events.publish("volume", action, name, [driver]);
    }
}

/// Makes up the name of an anonymous volume.
pub(in crate::container) fn new_name() -> Result<String, Error> {
    name::new_id().map_err(|error| Error::io("making up a volume's name", error))
}

/// Checks a volume's name by Docker's rule.
///
/// # Errors
///
/// [`Error::Invalid`], in Docker's words.
pub(in crate::container) fn check_name(name: &str) -> Result<(), Error> {
    if name::is_valid(name) {
        return Ok(());
    }
    Err(Error::Invalid(match name.len() {
        0 | 1 => "volume name is too short, names should be at least two alphanumeric characters"
            .to_owned(),
        256.. => format!("create {name}: the volume name is longer than 255 characters"),
        _ => format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        ),
    }))
}

/// Tells whether a volume has the label `key` or `key=value`.
fn has(volume: &VolumeRecord, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => volume.labels.get(key).is_some_and(|label| label == value),
        None => volume.labels.contains_key(wanted),
    }
}
