//! Shares of block devices, by weight. A device has them from the start of the
//! first container that asks for one: only then BFQ schedules its requests, which
//! costs processor time for each (Documentation/block/bfq-iosched.rst).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use wherry_proto::v1::Resources;

use super::device_number;
use crate::container::error::Error;
use crate::runtime::Cgroup;

/// The file of a cgroup's weights. Docker's go into it as they are.
pub(super) const FILE: &str = "io.bfq.weight";

/// The scheduler that knows weights.
const SCHEDULER: &str = "bfq";

/// Docker's weight of who has none. BFQ's own is 100.
const USUAL: u32 = 500;

/// The devices whose requests go by weight.
#[derive(Debug)]
pub(in crate::container) struct Weights {
    /// The scheduler of the data disk, `/sys/dev/block/M:m/queue/scheduler`.
    data: PathBuf,
    /// Whether the machine is the engine's own: nobody else's disk gets another
    /// scheduler.
    own_machine: bool,
    /// Whether somebody has asked for one. Known, so that who asks for none pays
    /// for no look at it.
    in_use: Mutex<bool>,
}

impl Weights {
    /// Those of the machine whose data disk has `root` on it.
    pub(in crate::container) fn of(root: &Path, own_machine: bool) -> Self {
        let device = fs::metadata(root).map_or(0, |root| root.dev());
        let scheduler = scheduler((libc::major(device), libc::minor(device)));
        Self::with(scheduler, own_machine)
    }

    fn with(data: PathBuf, own_machine: bool) -> Self {
        // By the agent before this one.
        let in_use = Mutex::new(own_machine && is_active(&read(&data)));
        Self {
            data,
            own_machine,
            in_use,
        }
    }

    /// Tells whether weights have an effect here, once somebody asks for one.
    pub(super) fn are_known(&self) -> bool {
        let schedulers = read(&self.data);
        let mut words = schedulers.split_ascii_whitespace();
        match self.own_machine {
            true => words.any(|word| word.trim_matches(['[', ']']) == SCHEDULER),
            false => is_active(&schedulers),
        }
    }

    /// Tells whether a container that starts is to be given weights.
    pub(in crate::container) fn concern(&self, resources: &Resources) -> bool {
        is_given(resources) || *self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets requests go by weight from now on, and weighs the containers that
    /// have no weight of their own.
    fn use_them(
        &self,
        in_use: &mut bool,
        resources: &Resources,
        containers: &Path,
    ) -> Result<(), Error> {
        let named = resources.blkio_weight_devices.iter();
        let named: Vec<_> = named
            .map(|device| device_number(&device.path).map(scheduler))
            .collect::<Result<_, _>>()?;
        for scheduler in std::iter::once(&self.data).chain(&named) {
            if !is_active(&read(scheduler)) {
                fs::write(scheduler, SCHEDULER).map_err(|error| {
                    Error::io(
                        format!("setting the scheduler {}", scheduler.display()),
                        error,
                    )
                })?;
            }
        }
        if !*in_use {
            let parent = Cgroup::new(containers);
            for id in parent.children() {
                let cgroup = Cgroup::new(&containers.join(&id));
                // It may be on its way out.
                if let Err(error) = weigh(&cgroup, &Resources::default()) {
                    tracing::debug!(%error, cgroup = id, "not weighed");
                }
            }
            *in_use = true;
        }
        Ok(())
    }

    /// Gives a container its weights among `containers`, the cgroup of all. Blocks
    /// where it is the first, until requests under way are done.
    ///
    /// # Errors
    ///
    /// Those of the kernel, with the file that it refuses.
    pub(in crate::container) fn apply(
        &self,
        cgroup: &Cgroup,
        resources: &Resources,
        containers: &Path,
    ) -> Result<(), Error> {
        // Held, so that nobody's own weight is taken for none.
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = is_given(resources) && self.are_known();
        if wanted && self.own_machine {
            self.use_them(&mut in_use, resources, containers)?;
        }
        if wanted || *in_use {
            weigh(cgroup, resources)?;
        }
        Ok(())
    }
}

/// Tells whether a container has weights of its own.
pub(super) fn is_given(resources: &Resources) -> bool {
    resources.blkio_weight != 0 || !resources.blkio_weight_devices.is_empty()
}

fn weigh(cgroup: &Cgroup, resources: &Resources) -> Result<(), Error> {
    for value in values(resources)? {
        super::write(cgroup, FILE, &value)?;
    }
    Ok(())
}

/// Returns what is written, a weight at a time (bfq-cgroup.c).
fn values(resources: &Resources) -> Result<Vec<String>, Error> {
    let weight = match resources.blkio_weight {
        0 => USUAL,
        weight => weight,
    };
    let mut values = vec![weight.to_string()];
    for device in &resources.blkio_weight_devices {
        let (major, minor) = device_number(&device.path)?;
        values.push(format!("{major}:{minor} {}", device.weight));
    }
    Ok(values)
}

fn scheduler((major, minor): (u32, u32)) -> PathBuf {
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    // A partition's requests are its disk's.
    let queue = match device.join("partition").exists() {
        true => device.join("../queue"),
        false => device.join("queue"),
    };
    queue.join("scheduler")
}

fn read(scheduler: &Path) -> String {
    fs::read_to_string(scheduler).unwrap_or_default()
}

/// Tells whether of `none [bfq]` the active one knows weights.
fn is_active(schedulers: &str) -> bool {
    schedulers.split_ascii_whitespace().any(|word| {
        word.strip_prefix('[')
            .and_then(|word| word.strip_suffix(']'))
            == Some(SCHEDULER)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::WeightDevice;

    #[test]
    fn weights_are_written_as_bfq_reads_them() {
        let mut resources = Resources::default();
        assert_eq!(values(&resources).unwrap(), ["500"]);
        assert!(!is_given(&resources));
        resources.blkio_weight = 300;
        assert_eq!(values(&resources).unwrap(), ["300"]);
        resources.blkio_weight_devices = vec![WeightDevice {
            path: "/dev/null".to_owned(),
            weight: 20,
        }];
        let error = values(&resources).unwrap_err().to_string();
        assert!(error.contains("/dev/null is no block device"), "{error}");
    }

    #[test]
    fn the_scheduler_in_brackets_is_the_active_one() {
        assert!(is_active("none [bfq]\n") && is_active("[bfq] none\n"));
        assert!(!is_active("[none] bfq\n") && !is_active("[bfq2]\n") && !is_active(""));
    }

    #[test]
    fn a_disk_of_somebody_else_keeps_its_scheduler() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("scheduler");
        fs::write(&data, "[none] bfq\n").unwrap();
        let resources = Resources {
            blkio_weight: 300,
            ..Resources::default()
        };
        let weights = |own_machine| Weights::with(data.clone(), own_machine);
        let cgroup = Cgroup::new(Path::new("/no-such-cgroup"));
        assert!(!weights(false).are_known());
        weights(false)
            .apply(&cgroup, &resources, Path::new("/no-such-cgroup"))
            .unwrap();
        assert_eq!(fs::read_to_string(&data).unwrap(), "[none] bfq\n");
        assert!(weights(true).are_known());
        weights(true)
            .apply(&cgroup, &resources, Path::new("/no-such-cgroup"))
            .unwrap();
        assert_eq!(fs::read_to_string(&data).unwrap(), "bfq");
        // The kernel's answer.
        fs::write(&data, "none [bfq]\n").unwrap();
        assert!(weights(true).concern(&Resources::default()));
    }
}
