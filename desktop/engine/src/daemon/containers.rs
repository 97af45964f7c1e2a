//! The calls on containers that name things of the host: bind mounts are
//! translated to where the guest sees them, ports are bound before the start and
//! closed with the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use wherry_client::Settings;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::{
    CreateContainerRequest, CreateContainerResponse, InspectContainerRequest, KillContainerRequest,
    KillContainerResponse, Mount, NoteFailedStartRequest, RemoveContainerRequest,
    RemoveContainerResponse, RestartContainerRequest, RestartContainerResponse,
    StartContainerRequest, StartContainerResponse, StopContainerRequest, StopContainerResponse,
    container, mount,
};

use super::machine::MachineLink;
use super::{engine_socket, ports, shares};

/// Translates calls on their way to the guest.
#[derive(Clone)]
pub(crate) struct Translator {
    link: Arc<MachineLink>,
}

impl Translator {
    pub(crate) fn new(link: Arc<MachineLink>) -> Self {
        Self { link }
    }

    pub(crate) async fn create(
        &self,
        mut request: Request<CreateContainerRequest>,
    ) -> Result<Response<CreateContainerResponse>, Status> {
        let guest = self.link.guest().await?;
        if let Some(spec) = &mut request.get_mut().spec {
            self.translate_mounts(&mut spec.mounts).await?;
        }
        ContainersClient::new(guest).create(request).await
    }

    async fn translate_mounts(&self, mounts: &mut [Mount]) -> Result<(), Status> {
        let home = self.link.home();
        for mount in mounts
            .iter_mut()
            .filter(|mount| mount.kind() == mount::Kind::Bind)
        {
            mount.engine_socket = engine_socket::is_meant(Path::new(&mount.host_source), home);
            if mount.engine_socket {
                self.check_socket(&mount.host_source)?;
            }
        }
        let is_host_bind = |mount: &Mount| {
            let bind = mount.kind() == mount::Kind::Bind && !mount.engine_socket;
            bind && !mount.host_source.is_empty()
        };
        if !mounts.iter().any(is_host_bind) {
            return Ok(());
        }
        let shared = self.shared().await?;
        let config = self.link.home().config();
        for mount in mounts.iter_mut().filter(|mount| is_host_bind(mount)) {
            mount.source = shares::guest_path(Path::new(&mount.host_source), &shared, &config)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
        }
        Ok(())
    }

    /// Refuses the engine's own socket where the settings keep it from containers.
    fn check_socket(&self, source: &str) -> Result<(), Status> {
        let home = self.link.home();
        let settings = Settings::load(home);
        let settings = settings.map_err(|error| Status::failed_precondition(error.to_string()))?;
        if settings.api.in_containers {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "{source} cannot be mounted: `containers = false` in [api] of {} keeps the engine's socket from containers",
            home.config().display()
        )))
    }

    /// Makes the folders of the host that bind mounts name and that are not there,
    /// as Docker does for those in its short form.
    ///
    /// # Errors
    ///
    /// Where one would be in no share, or cannot be made.
    pub(crate) async fn make_folders(&self, folders: &[PathBuf]) -> Result<(), Status> {
        let home = self.link.home();
        let is_missing = |folder: &&PathBuf| {
            folder.is_absolute() && !folder.exists() && !engine_socket::is_meant(folder, home)
        };
        let missing: Vec<&PathBuf> = folders.iter().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (shared, config) = (self.shared().await?, self.link.home().config());
        for folder in missing {
            let there = folder.ancestors().find(|parent| parent.exists());
            if let Some(there) = there {
                shares::guest_path(there, &shared, &config)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
            }
            tokio::fs::create_dir_all(folder).await.map_err(|error| {
                let folder = folder.display();
                Status::invalid_argument(format!("cannot create host path {folder}: {error}"))
            })?;
        }
        Ok(())
    }

    /// Returns the host's folders that the machine has.
    async fn shared(&self) -> Result<Vec<PathBuf>, Status> {
        let status = self.link.status().await?;
        Ok(status.shares.iter().map(PathBuf::from).collect())
    }

    pub(crate) async fn start(
        &self,
        mut request: Request<StartContainerRequest>,
    ) -> Result<Response<StartContainerResponse>, Status> {
        let guest = self.link.guest().await?;
        let mut containers = ContainersClient::new(guest.clone());
        let found = containers
            .inspect(InspectContainerRequest {
                container: request.get_ref().container.clone(),
            })
            .await?
            .into_inner();
        let ports = ports::wanted(&found);
        if ports.is_empty() || found.status() == container::Status::Running {
            return containers.start(request).await;
        }
        // Bound before the start, so that a taken port fails the start and the
        // container never runs without its ports.
        let published = self.link.ports().publish(&found.id, &ports, &guest).await;
        let publication = match published {
            Ok(publication) => publication,
            Err(status) => {
                let failed = NoteFailedStartRequest {
                    container: found.id,
                    reason: status.message().to_owned(),
                };
                // Of more interest than this is why it failed.
                if let Err(status) = containers.note_failed_start(failed).await {
                    tracing::debug!(%status, "a failed start is on no record");
                }
                return Err(status);
            }
        };
        request.get_mut().bound_ports = publication.bound().to_vec();
        let answer = containers.start(request).await;
        match &answer {
            Ok(_) => publication.keep(),
            Err(_) => publication.withdraw().await,
        }
        answer
    }

    pub(crate) async fn restart(
        &self,
        mut request: Request<RestartContainerRequest>,
    ) -> Result<Response<RestartContainerResponse>, Status> {
        let guest = self.link.guest().await?;
        let mut containers = ContainersClient::new(guest.clone());
        let found = containers
            .inspect(InspectContainerRequest {
                container: request.get_ref().container.clone(),
            })
            .await?
            .into_inner();
        let ports = ports::wanted(&found);
        if ports.is_empty() {
            return containers.restart(request).await;
        }
        // The same ports again: those that are bound stay so while it restarts,
        // for this holds the turn that closing them waits for.
        let publication = self.link.ports().publish(&found.id, &ports, &guest).await?;
        request.get_mut().bound_ports = publication.bound().to_vec();
        let answer = containers.restart(request).await;
        match &answer {
            Ok(_) => publication.keep(),
            Err(_) => publication.withdraw().await,
        }
        answer
    }

    pub(crate) async fn stop(
        &self,
        request: Request<StopContainerRequest>,
    ) -> Result<Response<StopContainerResponse>, Status> {
        let container = request.get_ref().container.clone();
        self.ending(
            container,
            |mut guest| async move { guest.stop(request).await },
        )
        .await
    }

    pub(crate) async fn kill(
        &self,
        request: Request<KillContainerRequest>,
    ) -> Result<Response<KillContainerResponse>, Status> {
        let container = request.get_ref().container.clone();
        self.ending(
            container,
            |mut guest| async move { guest.kill(request).await },
        )
        .await
    }

    pub(crate) async fn remove(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Result<Response<RemoveContainerResponse>, Status> {
        let container = request.get_ref().container.clone();
        self.ending(
            container,
            |mut guest| async move { guest.remove(request).await },
        )
        .await
    }

    /// Passes on a call that may end a container. What it answers is answered once the
    /// container's ports are closed: the caller may count on them.
    async fn ending<Call, Answer, Message>(
        &self,
        container: String,
        call: Call,
    ) -> Result<Answer, Status>
    where
        Call: FnOnce(ContainersClient<Channel>) -> Message,
        Message: Future<Output = Result<Answer, Status>>,
    {
        let guest = self.link.guest().await?;
        let mut containers = ContainersClient::new(guest.clone());
        // One that is not there is the call's to tell of.
        let found = containers
            .inspect(InspectContainerRequest { container })
            .await;
        let answer = call(containers).await?;
        if let Ok(found) = found
            && !ports::wanted(found.get_ref()).is_empty()
            && let Err(status) = self.link.ports().settle(&found.get_ref().id, guest).await
        {
            // The container's end is told as an event too, and tried again with it.
            tracing::debug!(%status, "cannot close a container's ports yet");
        }
        Ok(answer)
    }
}
