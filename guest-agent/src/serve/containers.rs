//! The Containers service.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use wherry_proto::v1;
use wherry_proto::v1::containers_server::Containers as Service;

use super::Agent;
use crate::container::CommitOptions;
use crate::container::Condition;

/// Serves [`Service`].
pub(super) struct ContainersService {
    agent: Arc<Agent>,
}

impl ContainersService {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }
}

#[tonic::async_trait]
impl Service for ContainersService {
    type WatchListeningStream =
        Pin<Box<dyn Stream<Item = Result<v1::Listening, Status>> + Send + 'static>>;

    async fn watch_listening(
        &self,
        _request: Request<v1::WatchListeningRequest>,
    ) -> Result<Response<Self::WatchListeningStream>, Status> {
        let agent = &self.agent;
        let changes = agent.listening.watch(&agent.containers, &agent.events);
        let mut ending = agent.ending.subscribe();
        let end = async move {
            let _ = ending.wait_for(|ending| *ending).await;
        };
        let changes = WatchStream::new(changes).map(|containers| Ok(v1::Listening { containers }));
        Ok(Response::new(Box::pin(changes.take_until(end))))
    }

    async fn note_ports(
        &self,
        request: Request<v1::NotePortsRequest>,
    ) -> Result<Response<v1::NotePortsResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .note_ports(&request.container, request.ports)?;
        Ok(Response::new(v1::NotePortsResponse {}))
    }

    async fn note_failed_start(
        &self,
        request: Request<v1::NoteFailedStartRequest>,
    ) -> Result<Response<v1::NoteFailedStartResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .note_failed_start(&request.container, request.reason)
            .await?;
        Ok(Response::new(v1::NoteFailedStartResponse {}))
    }

    async fn create(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Result<Response<v1::CreateContainerResponse>, Status> {
        let spec = request
            .into_inner()
            .spec
            .ok_or_else(|| Status::invalid_argument("no specification was given"))?;
        let (id, warnings) = self.agent.containers.create(spec).await?;
        Ok(Response::new(v1::CreateContainerResponse { id, warnings }))
    }

    async fn start(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Result<Response<v1::StartContainerResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .start(&request.container, request.bound_ports)
            .await?;
        Ok(Response::new(v1::StartContainerResponse {}))
    }

    async fn stop(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Result<Response<v1::StopContainerResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .stop(&request.container, request.timeout_seconds, &request.signal)
            .await?;
        Ok(Response::new(v1::StopContainerResponse {}))
    }

    async fn kill(
        &self,
        request: Request<v1::KillContainerRequest>,
    ) -> Result<Response<v1::KillContainerResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .kill(&request.container, &request.signal)
            .await?;
        Ok(Response::new(v1::KillContainerResponse {}))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Result<Response<v1::RemoveContainerResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .remove(&request.container, request.force, request.volumes)
            .await?;
        Ok(Response::new(v1::RemoveContainerResponse {}))
    }

    async fn remove_link(
        &self,
        request: Request<v1::RemoveLinkRequest>,
    ) -> Result<Response<v1::RemoveLinkResponse>, Status> {
        let link = request.into_inner().link;
        self.agent.containers.remove_link(&link).await?;
        Ok(Response::new(v1::RemoveLinkResponse {}))
    }

    async fn list(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Result<Response<v1::ListContainersResponse>, Status> {
        let containers = self.agent.containers.list(request.into_inner().all);
        Ok(Response::new(v1::ListContainersResponse { containers }))
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectContainerRequest>,
    ) -> Result<Response<v1::Container>, Status> {
        let container = self
            .agent
            .containers
            .find(&request.into_inner().container)?;
        Ok(Response::new(v1::Container {
            execs: self.agent.containers.execs_of(&container.id),
            ..container.describe()
        }))
    }

    async fn wait(
        &self,
        request: Request<v1::WaitContainerRequest>,
    ) -> Result<Response<v1::WaitContainerResponse>, Status> {
        let request = request.into_inner();
        let condition = match request.condition() {
            v1::wait_container_request::Condition::NotRunning => Condition::NotRunning,
            v1::wait_container_request::Condition::NextExit => Condition::NextExit,
            v1::wait_container_request::Condition::Removed => Condition::Removed,
        };
        let container = self.agent.containers.find(&request.container)?;
        let phase = container.wait(condition).await;
        Ok(Response::new(v1::WaitContainerResponse {
            exit_code: phase.exit_code,
            error: phase.error,
        }))
    }

    async fn resize(
        &self,
        request: Request<v1::ResizeRequest>,
    ) -> Result<Response<v1::ResizeResponse>, Status> {
        self.agent.containers.resize(request.into_inner()).await?;
        Ok(Response::new(v1::ResizeResponse {}))
    }

    async fn create_exec(
        &self,
        request: Request<v1::CreateExecRequest>,
    ) -> Result<Response<v1::CreateExecResponse>, Status> {
        let exec = self
            .agent
            .containers
            .create_exec(request.into_inner())
            .await?;
        Ok(Response::new(v1::CreateExecResponse { exec }))
    }

    async fn inspect_exec(
        &self,
        request: Request<v1::InspectExecRequest>,
    ) -> Result<Response<v1::Exec>, Status> {
        let exec = self
            .agent
            .containers
            .inspect_exec(&request.into_inner().exec)?;
        Ok(Response::new(exec))
    }

    async fn restart(
        &self,
        request: Request<v1::RestartContainerRequest>,
    ) -> Result<Response<v1::RestartContainerResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .restart(
                &request.container,
                request.timeout_seconds,
                &request.signal,
                request.bound_ports,
            )
            .await?;
        Ok(Response::new(v1::RestartContainerResponse {}))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseContainerRequest>,
    ) -> Result<Response<v1::PauseContainerResponse>, Status> {
        self.agent
            .containers
            .pause(&request.into_inner().container)
            .await?;
        Ok(Response::new(v1::PauseContainerResponse {}))
    }

    async fn unpause(
        &self,
        request: Request<v1::UnpauseContainerRequest>,
    ) -> Result<Response<v1::UnpauseContainerResponse>, Status> {
        self.agent
            .containers
            .unpause(&request.into_inner().container)
            .await?;
        Ok(Response::new(v1::UnpauseContainerResponse {}))
    }

    async fn rename(
        &self,
        request: Request<v1::RenameContainerRequest>,
    ) -> Result<Response<v1::RenameContainerResponse>, Status> {
        let request = request.into_inner();
        self.agent
            .containers
            .rename(&request.container, &request.name)?;
        Ok(Response::new(v1::RenameContainerResponse {}))
    }

    async fn top(
        &self,
        request: Request<v1::TopRequest>,
    ) -> Result<Response<v1::TopResponse>, Status> {
        let request = request.into_inner();
        let top = self
            .agent
            .containers
            .top(&request.container, &request.arguments)?;
        Ok(Response::new(top))
    }

    async fn prune(
        &self,
        request: Request<v1::PruneContainersRequest>,
    ) -> Result<Response<v1::PruneContainersResponse>, Status> {
        let (ids, reclaimed) = self.agent.containers.prune(&request.into_inner()).await?;
        Ok(Response::new(v1::PruneContainersResponse {
            ids,
            reclaimed,
        }))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateContainerRequest>,
    ) -> Result<Response<v1::UpdateContainerResponse>, Status> {
        let warnings = self.agent.containers.update(&request.into_inner()).await?;
        Ok(Response::new(v1::UpdateContainerResponse { warnings }))
    }

    async fn stat_path(
        &self,
        request: Request<v1::StatPathRequest>,
    ) -> Result<Response<v1::PathStatus>, Status> {
        let request = request.into_inner();
        let containers = &self.agent.containers;
        let status = containers
            .stat_path(&request.container, &request.path, request.follow)
            .await?;
        Ok(Response::new(status))
    }

    async fn sizes(
        &self,
        request: Request<v1::SizesRequest>,
    ) -> Result<Response<v1::SizesResponse>, Status> {
        let wanted = request.into_inner().containers;
        let sizes = self.agent.containers.sizes(&wanted).await?;
        Ok(Response::new(v1::SizesResponse { sizes }))
    }

    async fn diff(
        &self,
        request: Request<v1::DiffRequest>,
    ) -> Result<Response<v1::DiffResponse>, Status> {
        let containers = &self.agent.containers;
        let changes = containers.changes(&request.into_inner().container).await?;
        Ok(Response::new(v1::DiffResponse { changes }))
    }

    async fn commit(
        &self,
        request: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::Image>, Status> {
        let request = request.into_inner();
        let options = CommitOptions {
            name: request.name,
            author: request.author,
            message: request.message,
            changes: request.changes,
            config: request.config,
            pause: !request.no_pause,
        };
        let containers = &self.agent.containers;
        let image = containers.commit(&request.container, options).await?;
        Ok(Response::new((&image).into()))
    }

    async fn stats(
        &self,
        request: Request<v1::StatsRequest>,
    ) -> Result<Response<v1::StatsResponse>, Status> {
        let stats = self.agent.containers.stats(&request.into_inner())?;
        Ok(Response::new(v1::StatsResponse { stats }))
    }
}
