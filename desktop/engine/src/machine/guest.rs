//! The guest's gRPC services, as the machine process itself uses them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use wherry_proto::v1::system_client::SystemClient;
use wherry_proto::v1::{
    InfoRequest, InfoResponse, PowerOffRequest, SetClockRequest, SetClockResponse,
};
use wherry_proto::{GRPC_PORT, WIRE_VERSION};

use crate::vm::Vm;

/// Between two attempts to reach a guest that has not answered yet.
const RETRY: Duration = Duration::from_millis(5);

/// How long the guest may take for a question that it answers at once.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A client of the guest.
#[derive(Clone)]
pub(super) struct Guest {
    system: SystemClient<Channel>,
}

impl Guest {
    /// Connects when it is first used, and again when the connection is lost.
    pub(super) fn new(vm: &Arc<dyn Vm>) -> Self {
        // Weak, so that a connection does not keep the VM.
        let vm = Arc::downgrade(vm);
        let connector = service_fn(move |_: Uri| {
            let connection = vm.upgrade().map(|vm| vm.connect(GRPC_PORT));
            async move {
                match connection {
                    Some(connection) => connection.await.map(TokioIo::new),
                    None => Err(io::Error::new(
                        io::ErrorKind::NotConnected,
                        "the VM has ended",
                    )),
                }
            }
        });
        // The address is never looked up: the connector knows where to go.
        let channel =
            Endpoint::from_static("http://guest.localhost").connect_with_connector_lazy(connector);
        Self {
            system: SystemClient::new(channel),
        }
    }

    /// Waits for the guest's first answer.
    pub(super) async fn ready(&mut self) -> InfoResponse {
        loop {
            match self.info().await {
                Ok(info) => return info,
                Err(status) => tracing::trace!(%status, "the guest is not ready"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn info(&mut self) -> Result<InfoResponse, Status> {
        let request = InfoRequest {
            wire_version: WIRE_VERSION,
            host_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // No deadline: the connection waits for the guest's driver, and whoever
        // waits for the guest sets one.
        Ok(self.system.info(request).await?.into_inner())
    }

    /// Sets the guest's clock if it is off by more than `tolerance`.
    pub(super) async fn set_clock(
        &mut self,
        tolerance: Duration,
    ) -> Result<SetClockResponse, Status> {
        let mut request = tonic::Request::new(SetClockRequest {
            time: Some(SystemTime::now().into()),
            tolerance_ms: u32::try_from(tolerance.as_millis()).unwrap_or(u32::MAX),
        });
        request.set_timeout(ANSWER_DEADLINE);
        let answer = tokio::time::timeout(ANSWER_DEADLINE, self.system.set_clock(request)).await;
        match answer {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(Status::deadline_exceeded("the guest does not answer")),
        }
    }

    /// Has the guest stop its containers within `containers` and power off.
    pub(super) async fn power_off(&mut self, containers: Duration) -> Result<(), Status> {
        let timeout_seconds = u32::try_from(containers.as_secs()).unwrap_or(u32::MAX);
        let request = PowerOffRequest { timeout_seconds };
        self.system.power_off(request).await?;
        Ok(())
    }
}
