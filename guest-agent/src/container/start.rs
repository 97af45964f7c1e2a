//! Starting a container: root, network and shim at once, then its process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wherry_proto::v1::{PortBinding, Resources};

use super::error::Error;
use super::exec::terminal_size;
use super::network::{Link, network_error};
use super::record::{Record, Status, now};
use super::root::{self, Root};
use super::{
    Container, Containers, blocking, chain, isolation, limits, logging, system, to_the_end,
    validate,
};
use crate::runtime::spec::{self, ContainerDescription, Namespace, NetworkNamespace};
use crate::runtime::{Cgroup, ShimConfig, ShimError};

/// The cgroup of all containers. Not the agent's own: a cgroup that hands
/// controllers on may hold no process itself (cgroup-v2.rst, "No Internal
/// Process Constraint").
pub(crate) const CGROUP: &str = "/wherry-containers";

/// The exit code of who could not be started, but for its command.
pub(super) const NEVER_RAN: i32 = 125;

impl Containers {
    /// Starts a container. Fine if it runs.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when its command cannot be run, or whatever else is in
    /// the way; all that was made for the start is gone then.
    pub(crate) async fn start(
        self: &Arc<Self>,
        reference: &str,
        ports: Vec<PortBinding>,
    ) -> Result<(), Error> {
        validate::ports(&ports)?;
        let container = self.find(reference)?;
        let containers = self.clone();
        to_the_end(async move { containers.start_now(&container, ports).await }).await
    }

    pub(super) async fn start_now(
        self: &Arc<Self>,
        container: &Arc<Container>,
        ports: Vec<PortBinding>,
    ) -> Result<(), Error> {
        let _turn = container.turn.clone().lock_owned().await;
        if container.phase.borrow().removed {
            return Err(Error::NotFound(container.id.clone()));
        }
        container.not_paused("cannot start it, try unpause instead")?;
        if container.status() == Status::Running {
            return take_ports(container, ports);
        }
        self.start_in_turn(container, ports, 0).await
    }

    /// Starts a container that does not run, by its policy for the
    /// `restarts`-th time. The caller has its turn.
    pub(super) async fn start_in_turn(
        self: &Arc<Self>,
        container: &Arc<Container>,
        ports: Vec<PortBinding>,
        restarts: u32,
    ) -> Result<(), Error> {
        let launched = self.launch(container, ports, restarts).await;
        if let Err(error) = &launched {
            self.give_up(container, error).await;
        }
        launched
    }

    /// Notes that a start failed before it came here.
    ///
    /// # Errors
    ///
    /// [`Error::State`] for a container that runs, by another start.
    pub(crate) async fn note_failed_start(
        self: &Arc<Self>,
        reference: &str,
        reason: String,
    ) -> Result<(), Error> {
        let container = self.find(reference)?;
        let containers = self.clone();
        to_the_end(async move {
            let _turn = container.turn.clone().lock_owned().await;
            if container.phase.borrow().removed {
                return Err(Error::NotFound(container.id.clone()));
            }
            if container.status() == Status::Running {
                let id = &container.id;
                return Err(Error::State(format!("container {id} runs")));
            }
            let error = Error::Start {
                exit_code: NEVER_RAN,
                message: reason,
            };
            containers.give_up(&container, &error).await;
            Ok(())
        })
        .await
    }

    /// Takes back what a failed start has made, and notes why it failed.
    async fn give_up(self: &Arc<Self>, container: &Arc<Container>, error: &Error) {
        let shim = container.cell().shim.take();
        self.clean_up(container, shim).await;
        container.phase.send_modify(|phase| phase.starts += 1);
        self.start_failed(container, error);
        let auto_remove = container.cell().record.spec.auto_remove;
        if auto_remove && let Err(error) = self.remove_stopped(container, true).await {
            tracing::error!(container = container.id, "{}", chain(&error));
        }
    }

    async fn launch(
        self: &Arc<Self>,
        container: &Arc<Container>,
        ports: Vec<PortBinding>,
        restarts: u32,
    ) -> Result<(), Error> {
        let record = container.record();
        let begun = std::time::Instant::now();
        let request = self.setup_request(&record)?;
        let links = self.links(&record)?;
        let prepared = {
            let (containers, record, paths) =
                (self.clone(), record.clone(), container.paths.clone());
            blocking(move || {
                root::prepare(
                    &containers.images,
                    &containers.volumes,
                    &containers.places,
                    &record,
                    &paths,
                )
            })
        };
        let (prepared, attachment, shim) = tokio::join!(
            timed(prepared),
            timed(self.network.setup(request)),
            timed(self.shim(container))
        );
        tracing::debug!(
            container = container.id,
            root_us = prepared.1.as_micros(),
            network_us = attachment.1.as_micros(),
            shim_us = shim.1.as_micros(),
            "prepared"
        );
        let (prepared, attachment, shim) = (prepared.0, attachment.0, shim.0);
        let (mut prepared, shim) = (prepared?, shim?);
        let attachment = attachment.map_err(network_error)?;
        let prepared_at = begun.elapsed();
        prepared.mounts.extend(root::network_files(
            &record,
            &attachment,
            &links,
            &container.paths,
        )?);
        let network = match &attachment.netns {
            Some(path) => NetworkNamespace::Path(path.clone()),
            None => NetworkNamespace::Host,
        };
        prepared.mounts.extend(self.mode_mounts(container)?);
        let mut description = self.describe(&record, container.paths.root(), prepared, network);
        add_variables(&mut description.env, &links, &record.name);
        description.pid = self.namespace(&record.spec.pid_mode, "pid")?;
        description.ipc = self.namespace(&record.spec.ipc_mode, "ipc")?;
        description.devices = isolation::devices(&record.spec)?;
        description.device_rules = isolation::device_rules(&record.spec)?;
        let halt = description
            .delegated
            .then(|| system::halt_signal(&container.paths.root(), &record));
        let spec = spec::container(&description).map_err(|error| Error::Invalid(chain(&error)))?;
        let log_limits = logging::limits(record.spec.log.as_ref())?;
        let config = ShimConfig {
            id: record.id.clone(),
            log: log_limits.map(|_| container.paths.log()),
            log_limits: log_limits.unwrap_or_default(),
            exit: root::exit_file(&container.paths),
            cgroup: self.cgroup(&record.id),
            terminal: record.spec.terminal,
            terminal_size: description.terminal_size,
            open_stdin: record.spec.open_stdin,
            stdin_once: record.spec.stdin_once,
        };
        let pid = shim
            .create(&config, &spec)
            .await
            .map_err(|error| start_error(&error))?;
        if let Some(resources) = record
            .spec
            .resources
            .as_ref()
            .filter(|limits| is_given(limits))
        {
            limits::apply(&Cgroup::new(&config.cgroup), resources)?;
        }
        let resources = record.spec.resources.clone().unwrap_or_default();
        self.weigh(&record.id, &resources).await?;
        let created_at = begun.elapsed();
        shim.start().await.map_err(|error| start_error(&error))?;
        let state = shim.state().await.map_err(|error| start_error(&error))?;
        let started = now();
        container.cell().waiting_clients = 0;
        container.update(|record| {
            record.state.status = Status::Running;
            record.state.exit_code = 0;
            record.state.oom_killed = false;
            record.state.oom_kills = 0;
            record.state.error.clear();
            record.state.pid = pid;
            record.state.shim_pid = state.shim_pid;
            record.state.started = started;
            record.state.finished = 0;
            record.state.stopped = false;
            record.state.halt_signal = halt.unwrap_or_default().to_owned();
            record.state.restart_count = restarts;
            if restarts == 0 {
                record.state.restart_pause_ms = 0;
            }
            record.state.ports = ports;
            record.state.place(&attachment);
        })?;
        container.phase.send_modify(|phase| phase.starts += 1);
        let joined = container.record().state.endpoints;
        self.publish_mounts(container, "mount");
        self.publish_networks(container, "connect", &joined);
        self.tell_linking(container);
        self.publish(container, "start", &[]);
        self.check_health(container);
        tracing::debug!(
            container = container.id,
            prepared_us = prepared_at.as_micros(),
            created_us = created_at.as_micros(),
            running_us = begun.elapsed().as_micros(),
            "started"
        );
        Ok(())
    }

    /// The cgroup of a container, below the hierarchy's root.
    pub(super) fn cgroup(&self, id: &str) -> PathBuf {
        PathBuf::from(CGROUP).join(id)
    }

    /// Gives a container its share of block devices, where anybody has one.
    pub(super) async fn weigh(&self, id: &str, resources: &Resources) -> Result<(), Error> {
        if !self.weights.concern(resources) {
            return Ok(());
        }
        let (weights, resources) = (self.weights.clone(), resources.clone());
        let cgroup = Cgroup::new(&self.cgroup(id));
        super::blocking(move || weights.apply(&cgroup, &resources, Path::new(CGROUP))).await
    }

    /// Checks, before anything is made, what only the runtime knows: names of
    /// capabilities, security options.
    pub(super) fn check_runtime(&self, record: &Record) -> Result<(), Error> {
        let nobody = crate::image::User {
            uid: 0,
            gid: 0,
            additional_gids: Vec::new(),
            home: String::new(),
        };
        let root = Root {
            mounts: Vec::new(),
            user: nobody,
        };
        let description = self.describe(record, PathBuf::from("/"), root, NetworkNamespace::New);
        spec::container(&description)
            .map(drop)
            .map_err(|error| Error::Invalid(chain(&error)))
    }

    fn describe(
        &self,
        record: &Record,
        rootfs: PathBuf,
        root: Root,
        network: NetworkNamespace,
    ) -> ContainerDescription {
        let spec = &record.spec;
        let mut env = validate::merged_environment(spec, &record.image_config);
        if !env.iter().any(|variable| variable.starts_with("HOME=")) {
            env.push(format!("HOME={}", root.user.home));
        }
        let delegated = system::is_system(record);
        if delegated
            && !env
                .iter()
                .any(|variable| variable.starts_with("container="))
        {
            // systemd.io/CONTAINER_INTERFACE
            env.push("container=oci".to_owned());
        }
        ContainerDescription {
            rootfs,
            args: record.args.clone(),
            env,
            cwd: root::working_directory(record).to_owned(),
            user: root::runtime_user(root.user),
            hostname: record.hostname.clone(),
            domainname: spec.domainname.clone(),
            annotations: spec.annotations.clone(),
            pid: Namespace::New,
            ipc: Namespace::New,
            uts: match spec.uts_mode.as_str() {
                "host" => Namespace::Host,
                _ => Namespace::New,
            },
            cgroup_namespace: match spec.cgroupns_mode.as_str() {
                "host" => Namespace::Host,
                _ => Namespace::New,
            },
            sysctls: spec.sysctls.clone(),
            devices: Vec::new(),
            device_rules: Vec::new(),
            delegated,
            mounts: root.mounts,
            ulimits: spec.ulimits.clone(),
            oom_score_adj: spec.oom_score_adj,
            cap_add: system::capabilities(record),
            cap_drop: spec.cap_drop.clone(),
            security_opt: spec.security_opt.clone(),
            privileged: spec.privileged,
            masked_paths: spec.masked_paths.clone().map(|list| list.paths),
            readonly_paths: spec.readonly_paths.clone().map(|list| list.paths),
            read_only: spec.read_only,
            terminal: spec.terminal,
            terminal_size: terminal_size(spec.terminal_rows, spec.terminal_columns),
            network,
            cgroup: self.cgroup(&record.id),
            no_shm: spec.ipc_mode == "none",
            shm_size: spec.shm_size,
        }
    }
}

fn is_given(limits: &Resources) -> bool {
    *limits != Resources::default()
}

/// Adds the variables of links, which those of the user and the image outdo.
fn add_variables(environment: &mut Vec<String>, links: &[Link], name: &str) {
    let known = |environment: &[String], variable: &str| {
        let name = variable.split('=').next();
        environment
            .iter()
            .any(|other| other.split('=').next() == name)
    };
    for variable in links.iter().flat_map(|link| link.variables(name)) {
        if !known(environment, &variable) {
            environment.push(variable);
        }
    }
}

/// Notes the ports of a container that started before they were bound.
fn take_ports(container: &Container, ports: Vec<PortBinding>) -> Result<(), Error> {
    if ports.is_empty() || !container.cell().record.state.ports.is_empty() {
        return Ok(());
    }
    container.update(|record| record.state.ports = ports)
}

/// Awaits something, and tells how long it took.
async fn timed<T>(future: impl Future<Output = T>) -> (T, std::time::Duration) {
    let begun = std::time::Instant::now();
    (future.await, begun.elapsed())
}

fn start_error(error: &ShimError) -> Error {
    Error::Start {
        exit_code: error.exit_code(),
        message: chain(error),
    }
}
