//! Verifying containers and volumes, and finding what is left in the kernel of
//! containers that do not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use super::mount::MountSource;
use super::record::{Record, Status};
use super::remove::REMOVED;
use super::volume::UNFINISHED;
use super::{Container, Containers, SHORT_ID, blocking, chain};
use crate::check::{Findings, GRACE};
use crate::image::unmount_root;
use crate::runtime::Cgroup;

impl Containers {
    /// Verifies everything about containers, and with `whole_machine` that
    /// nobody else's cgroups are there.
    ///
    /// # Errors
    ///
    /// Where a directory cannot be read; with what was found lost.
    pub(crate) async fn check(
        self: &Arc<Self>,
        mut findings: Findings,
        whole_machine: bool,
    ) -> Result<Findings, Error> {
        let all = self.all();
        findings.response.containers = all.len() as u32;
        for container in all {
            // Neither starting, nor being cleaned up after, nor on its way out.
            let turn = container.turn.clone().lock_owned().await;
            if container.phase.borrow().removed {
                continue;
            }
            let containers = self.clone();
            let idle = containers.is_idle(&container);
            if idle && self.network.holds(&container.id) {
                self.stray_network(&container.id, "the container does not run", &mut findings)
                    .await;
            }
            findings = blocking(move || {
                containers.check_record(&container, &mut findings);
                if idle {
                    containers.check_idle(&container, &mut findings);
                }
                drop(turn);
                Ok(findings)
            })
            .await?;
        }
        let containers = self.clone();
        findings = blocking(move || {
            containers.check_volumes(&mut findings)?;
            containers.check_directories(&mut findings)?;
            if whole_machine {
                containers.check_cgroups(&mut findings);
            }
            containers.check_devices(&mut findings);
            Ok(findings)
        })
        .await?;
        findings.response.networks = self.network.networks().len() as u32;
        let damaged = self.network.damaged_records();
        for (path, problem) in damaged.map_err(|error| Error::Internal(chain(&error)))? {
            findings.damage("network", path.display(), problem);
        }
        let holders = self.network.holders();
        let holders = holders.map_err(|error| Error::Internal(chain(&error)))?;
        for id in holders {
            // In this order: one that went meanwhile had its network taken first.
            if self.registry().find(&id).is_err() && self.network.holds(&id) {
                self.stray_network(&id, "there is no such container", &mut findings)
                    .await;
            }
        }
        Ok(findings)
    }

    /// Tells whether nothing of a container can be in the kernel. The caller
    /// has its turn.
    fn is_idle(&self, container: &Container) -> bool {
        let cell = container.cell();
        let stopped = matches!(cell.record.state.status, Status::Created | Status::Exited);
        stopped && cell.shim.is_none() && cell.waiting_clients == 0
    }

    async fn stray_network(&self, id: &str, problem: &str, findings: &mut Findings) {
        let outcome = match findings.repairs() {
            false => Ok(()),
            true => self.network.teardown(id).await.map_err(|errors| {
                let errors: Vec<_> = errors.iter().map(|error| chain(error)).collect();
                errors.join("; ")
            }),
        };
        findings.debris("network", id, problem, || outcome);
    }

    fn check_record(&self, container: &Container, findings: &mut Findings) {
        let record = container.record();
        let (id, directory) = (&container.id, &container.paths.directory);
        match Record::load(directory) {
            Ok(Some(_)) => {}
            Ok(None) if directory.is_dir() => {
                findings.debris("container", id, "its record is missing", || {
                    record.save(directory)
                });
            }
            Ok(None) => findings.damage(
                "container",
                id,
                format!(
                    "its directory {} is missing: remove the container",
                    directory.display()
                ),
            ),
            Err(error) => findings.damage("container", id, chain(&error)),
        }
        if !self.images.holds(&record.image_id) {
            findings.damage(
                "container",
                id,
                format!(
                    "its image {} is missing: load or pull it again",
                    record.image_id
                ),
            );
        }
        for mount in &record.mounts {
            if let MountSource::Volume { name, .. } = &mount.source
                && let Err(error) = self.volumes.find(name)
            {
                let problem = format!("its volume {name} cannot be used: {}", chain(&error));
                findings.damage("container", id, problem);
            }
        }
    }

    fn check_idle(&self, container: &Container, findings: &mut Findings) {
        let (id, paths) = (&container.id, &container.paths);
        let why = "the container does not run";
        for point in mount_points(&[&paths.directory, &paths.mounts]) {
            findings.debris("mount", point.display(), why, || unmount_root(&point));
        }
        if paths.runtime.exists() {
            findings.debris("container", id, "its shim's directory was left", || {
                fs::remove_dir_all(&paths.runtime)
            });
        }
        let cgroup = Cgroup::new(&self.cgroup(id));
        if cgroup.exists() {
            findings.debris("cgroup", id, why, || cgroup.remove());
        }
    }

    fn check_volumes(&self, findings: &mut Findings) -> Result<(), Error> {
        let directory = &self.places.root.join("volumes");
        // None is being made or removed meanwhile.
        let _turn = self.volumes.turn();
        for (path, name) in entries(directory)? {
            if name.starts_with(UNFINISHED) {
                if is_old(&path) {
                    let problem = "it was left half made or half removed";
                    findings.debris("volume", path.display(), problem, || {
                        fs::remove_dir_all(&path)
                    });
                }
                continue;
            }
            findings.response.volumes += 1;
            if let Err(error) = self.volumes.find(&name) {
                findings.damage("volume", &name, chain(&error));
            }
        }
        Ok(())
    }

    /// Looks for directories and mounts of containers that there are not.
    fn check_directories(&self, findings: &mut Findings) -> Result<(), Error> {
        // Containers enter the registry with it.
        let turn = self.volumes.turn();
        let (root, run) = (&self.places.root, &self.places.run);
        let unknown = |id: &str| self.registry().find(id).is_err();
        for (path, name) in entries(&root.join("containers"))? {
            let half_removed = name.starts_with(REMOVED) && is_old(&path);
            if half_removed || (!name.starts_with(REMOVED) && unknown(&name)) {
                let problem = match half_removed {
                    true => "it was left half removed",
                    false => "it belongs to no container",
                };
                findings.debris("container", path.display(), problem, || {
                    for point in mount_points(&[&path]) {
                        unmount_root(&point).map_err(|error| chain(&error))?;
                    }
                    fs::remove_dir_all(&path).map_err(|error| error.to_string())
                });
            }
        }
        for (path, name) in entries(&run.join("mounts"))? {
            for point in mount_points(&[&path])
                .into_iter()
                .filter(|_| unknown(&name))
            {
                let problem = "it belongs to no container";
                findings.debris("mount", point.display(), problem, || unmount_root(&point));
            }
        }
        for (path, name) in entries(&run.join("shims"))? {
            let known = self
                .all()
                .iter()
                .any(|container| container.id[..SHORT_ID] == name);
            if !known {
                let problem = "it belongs to no container";
                findings.debris("container", path.display(), problem, || {
                    fs::remove_dir_all(&path)
                });
            }
        }
        drop(turn);
        Ok(())
    }

    fn check_cgroups(&self, findings: &mut Findings) {
        let cgroup = self.cgroup("");
        for id in Cgroup::new(&cgroup).children() {
            if self.registry().find(&id).is_err() {
                let stray = Cgroup::new(&cgroup.join(&id));
                findings.debris("cgroup", &id, "it belongs to no container", || {
                    stray.remove()
                });
            }
        }
    }

    fn check_devices(&self, findings: &mut Findings) {
        for name in self.network.stray_devices() {
            findings.debris("network", &name, "no container has this device", || {
                self.network
                    .remove_device(&name)
                    .map_err(|error| chain(&error))
            });
        }
    }
}

/// Returns the entries of a directory, none where it is not there.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let failed = |error| Error::path("reading", directory, error);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((entry.path(), name))
        })
        .collect()
}

/// Tells whether nobody has touched a directory for a while.
fn is_old(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let now = super::record::now() / 1_000_000_000;
    fs::symlink_metadata(path).is_ok_and(|metadata| now - metadata.ctime() > GRACE as i64)
}

/// Returns what is mounted at or below some directories, the deepest first.
fn mount_points(directories: &[&Path]) -> Vec<PathBuf> {
    // proc_pid_mountinfo(5): the fifth field, with octal escapes.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<PathBuf> = points
        .map(|point| PathBuf::from(point.replace("\\040", " ").replace("\\134", "\\")))
        .filter(|point| {
            directories
                .iter()
                .any(|directory| point.starts_with(directory))
        })
        .collect();
    points.reverse();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_below_a_directory_and_not_beside_it() {
        assert!(mount_points(&[Path::new("/proc")]).contains(&PathBuf::from("/proc")));
        assert!(mount_points(&[Path::new("/pro")]).is_empty());
    }
}
