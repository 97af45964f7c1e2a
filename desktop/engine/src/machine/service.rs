//! The gRPC service `Machine`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::sync::Notify;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use wherry_client::Program;
use wherry_proto::v1::machine_server::Machine;
use wherry_proto::v1::{
    ListPublishedRequest, ListPublishedResponse, MachineStatusRequest, MachineStatusResponse,
    PauseRequest, PauseResponse, PublishRequest, PublishResponse, ResumeRequest, ResumeResponse,
    StopMachineRequest, StopMachineResponse, UnpublishRequest, UnpublishResponse,
};

use super::board::{Board, is_final};
use super::ports::Ports;
use super::stop::{CONTAINERS, StopOrder, Stopping};
use crate::vm::{Vm, VmError};

/// What a machine's status says once its program was replaced.
const UPGRADED: &str = "Wherry was upgraded since the machine started: \
    `wherry machine restart` has it run what is installed";

/// What the service and the process have in common.
pub(super) struct Shared {
    pub(super) board: Arc<Board>,
    pub(super) stopping: Stopping,
    owned: Mutex<Option<Arc<Owned>>>,
}

/// What there is while the VM's guest answers.
pub(super) struct Owned {
    pub(super) vm: Arc<dyn Vm>,
    pub(super) ports: Arc<Ports>,
    /// Sets the guest's clock.
    pub(super) wake: Arc<Notify>,
}

impl Shared {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            stopping: Stopping::new(),
            owned: Mutex::default(),
        }
    }

    pub(super) fn own(&self, owned: Owned) {
        *self.owned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(owned));
    }

    /// Lets go of the VM and closes its ports.
    pub(super) fn disown(&self) {
        *self.owned.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn owned(&self) -> Result<Arc<Owned>, Status> {
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        owned
            .clone()
            .ok_or_else(|| Status::unavailable("the machine is not ready"))
    }
}

/// The gRPC service `Machine`.
pub(super) struct MachineService {
    shared: Arc<Shared>,
    program: Program,
}

impl MachineService {
    pub(super) fn new(shared: Arc<Shared>, program: Program) -> Self {
        Self { shared, program }
    }
}

#[tonic::async_trait]
impl Machine for MachineService {
    async fn status(
        &self,
        _request: Request<MachineStatusRequest>,
    ) -> Result<Response<MachineStatusResponse>, Status> {
        let mut status = self.shared.board.status();
        if self.program.is_replaced() {
            let before = if status.warning.is_empty() { "" } else { "; " };
            status.warning += before;
            status.warning += UPGRADED;
        }
        Ok(Response::new(status))
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<MachineStatusResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        _request: Request<MachineStatusRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let board = self.shared.board.clone();
        let changes = WatchStream::from_changes(board.changes())
            .map(move |status| Ok(board.measured(status)));
        Ok(Response::new(Box::pin(until_final(changes))))
    }

    async fn stop(
        &self,
        request: Request<StopMachineRequest>,
    ) -> Result<Response<StopMachineResponse>, Status> {
        let request = request.into_inner();
        let containers = match request.timeout_seconds {
            0 => CONTAINERS,
            seconds => Duration::from_secs(seconds.into()),
        };
        self.shared.stopping.order(if request.force {
            StopOrder::Force
        } else {
            StopOrder::Graceful(containers)
        });
        let mut changes = self.shared.board.changes();
        let ended = changes.wait_for(|status| is_final(status.state())).await;
        match ended {
            Ok(_) => Ok(Response::new(StopMachineResponse {})),
            Err(_) => Err(Status::internal("the machine is gone")),
        }
    }

    async fn pause(
        &self,
        _request: Request<PauseRequest>,
    ) -> Result<Response<PauseResponse>, Status> {
        self.shared.owned()?.vm.pause().await.map_err(refused)?;
        Ok(Response::new(PauseResponse {}))
    }

    async fn resume(
        &self,
        _request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        let owned = self.shared.owned()?;
        owned.vm.resume().await.map_err(refused)?;
        owned.wake.notify_one();
        owned.ports.wake();
        Ok(Response::new(ResumeResponse {}))
    }

    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let owned = self.shared.owned()?;
        let published = owned.ports.publish(request.get_ref()).await?;
        Ok(Response::new(published))
    }

    async fn unpublish(
        &self,
        request: Request<UnpublishRequest>,
    ) -> Result<Response<UnpublishResponse>, Status> {
        let container = request.into_inner().container;
        self.shared.owned()?.ports.unpublish(&container).await;
        Ok(Response::new(UnpublishResponse {}))
    }

    async fn list_published(
        &self,
        _request: Request<ListPublishedRequest>,
    ) -> Result<Response<ListPublishedResponse>, Status> {
        let published = self.shared.owned()?.ports.list();
        Ok(Response::new(ListPublishedResponse { published }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "passed to map_err")]
fn refused(error: VmError) -> Status {
    Status::failed_precondition(error.to_string())
}

/// Ends a stream of states after the final one.
fn until_final(
    states: impl Stream<Item = Result<MachineStatusResponse, Status>> + Send + 'static,
) -> impl Stream<Item = Result<MachineStatusResponse, Status>> + Send + 'static {
    futures_util::stream::unfold(Some(Box::pin(states)), |states| async move {
        let mut states = states?;
        let state = states.next().await?;
        let last = state.as_ref().is_ok_and(|state| is_final(state.state()));
        Some((state, (!last).then_some(states)))
    })
}
