//! The `Engine` service: the machine's life, seen from outside.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use wherry_client::{Program, Settings};
use wherry_proto::v1::engine_server::Engine;
use wherry_proto::v1::{
    MachineProgress, MachineStatusRequest, MachineStatusResponse, ShutdownRequest,
    ShutdownResponse, StartMachineRequest, StopMachineRequest, StopMachineResponse, VersionRequest,
    VersionResponse,
};

use super::machine::MachineLink;
use crate::api::Tcp;

pub(super) struct EngineService {
    link: Arc<MachineLink>,
    tcp: Arc<Tcp>,
    program: Program,
    end: CancellationToken,
}

impl EngineService {
    pub(super) fn new(
        link: Arc<MachineLink>,
        tcp: Arc<Tcp>,
        program: Program,
        end: CancellationToken,
    ) -> Self {
        Self {
            link,
            tcp,
            program,
            end,
        }
    }
}

#[tonic::async_trait]
impl Engine for EngineService {
    type StartMachineStream = Pin<Box<dyn Stream<Item = Result<MachineProgress, Status>> + Send>>;

    async fn start_machine(
        &self,
        _: Request<StartMachineRequest>,
    ) -> Result<Response<Self::StartMachineStream>, Status> {
        let wrong = |error: &dyn std::error::Error| Status::failed_precondition(error.to_string());
        // As the machine itself: a changed setting counts from its next start.
        let settings = Settings::load(self.link.home()).map_err(|error| wrong(&error))?;
        let listener = settings.api.listener.as_ref();
        let served = self.tcp.settle(listener).await;
        served.map_err(|error| wrong(&error))?;
        let (progress, receiver) = mpsc::channel(16);
        let link = self.link.clone();
        // A start once begun is finished though the caller goes away: the
        // machine is everybody's.
        tokio::spawn(async move {
            if let Err(status) = link.start(&progress).await {
                tracing::error!(%status, "the machine did not start");
                let _ = progress.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn stop_machine(
        &self,
        request: Request<StopMachineRequest>,
    ) -> Result<Response<StopMachineResponse>, Status> {
        self.link.stop(request.into_inner()).await?;
        Ok(Response::new(StopMachineResponse {}))
    }

    async fn machine_status(
        &self,
        _: Request<MachineStatusRequest>,
    ) -> Result<Response<MachineStatusResponse>, Status> {
        Ok(Response::new(self.link.status().await?))
    }

    async fn version(
        &self,
        _: Request<VersionRequest>,
    ) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wire_version: wherry_proto::WIRE_VERSION,
            pid: std::process::id(),
            replaced: self.program.is_replaced(),
        }))
    }

    async fn shutdown(
        &self,
        _: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        self.end.cancel();
        Ok(Response::new(ShutdownResponse {}))
    }
}
